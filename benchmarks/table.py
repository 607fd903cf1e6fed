"""Rows of strings as an aligned plain-text table, which is also valid Markdown."""


def text(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * w for w in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in lines)


def show(header: list[str], rows: list[list[str]]) -> None:
    print(text(header, rows))
