"""Crossover: at what data and compute does a Vision Transformer overtake a CNN, and how sure are we?"""

__version__ = "0.1.0"
