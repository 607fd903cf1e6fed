"""The registry of forms. Adding one is one small file and one line here."""

from pipeline.errors import BadInput, nearest
from pipeline.laws.forms.base import Array, Form
from pipeline.laws.forms.bnsl import Bnsl1, Bnsl2
from pipeline.laws.forms.bounded import Bounded
from pipeline.laws.forms.chinchilla import Chinchilla
from pipeline.laws.forms.kaplan import Kaplan
from pipeline.laws.forms.m3 import M3
from pipeline.laws.forms.m4 import M4
from pipeline.laws.forms.muennighoff import Muennighoff
from pipeline.laws.forms.power import Power
from pipeline.laws.forms.power_floor import PowerFloor
from pipeline.laws.forms.shape import Shape
from pipeline.laws.forms.shifted import Shifted
from pipeline.laws.forms.sigmoid import Sigmoid
from pipeline.laws.forms.skaling import Skaling

__all__ = ["FORMS", "Array", "Form", "form_named"]

_CURVES = (Power(), PowerFloor(), Shifted(), M3(), M4(), Bnsl1(), Bnsl2())
_SURFACES = (Chinchilla(), Skaling(), Kaplan(), Muennighoff(), Bounded(), Shape())
FORMS: dict[str, Form] = {form.name: form for form in (*_CURVES, *_SURFACES, Sigmoid())}


def form_named(name: str) -> Form:
    """Raises BadInput for a name that is no form."""
    if name not in FORMS:
        raise BadInput(f"There is no form {name!r}: {nearest(name, FORMS)}")
    return FORMS[name]
