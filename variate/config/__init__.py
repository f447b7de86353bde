"""Recipes → checked configuration → models. A recipe is TOML; its keys are the constructors' keyword arguments.

Sections: ``data`` (binarize), ``encoder``, ``decoder``, ``latent``, ``posterior``, ``prior``, ``context``,
``likelihood``, ``objective``, ``view`` (each a ``name`` and that class's keywords) and ``train``. Names come from the
modules' ``__all__``; there is no second list.
"""

from variate.config.build import build as build
from variate.config.build import view_of as view_of
from variate.config.recipes import DEFAULTS as DEFAULTS
from variate.config.recipes import default_recipe as default_recipe
from variate.config.recipes import load_recipe as load_recipe
from variate.config.recipes import recipes as recipes
from variate.config.said import as_said as as_said
from variate.config.suited import as_scored as as_scored
from variate.config.suited import resolve as resolve
from variate.config.training import SCHEDULES as SCHEDULES
from variate.config.training import Training as Training
