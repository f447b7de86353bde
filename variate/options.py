"""Options of the command line that several verbs take, each with its words."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

RunPlace = Annotated[Path, Parameter(help="the folder that fit wrote, or its model file.")]
Data = Annotated[
    str, Parameter(help="a named set (its test part unless it says mnist:train), a file or a folder of images.")
]
Known = Annotated[
    Path | None,
    Parameter(help="a file with the rows' labels or known columns, where the data has none of its own."),
]
LabelFile = Annotated[Path | None, Parameter(help="a file with a label, or the known columns, of every row.")]
Levels = Annotated[
    int | None,
    Parameter(help="the data's values are whole numbers below this, instead of what is inferred."),
]
Layout = Annotated[
    str | None,
    Parameter(
        help="what the axes of an example of the data are, instead of what is inferred: F, L, LC, CL, HW, HWC, CHW, "
        "DHW, DHWC or CDHW."
    ),
]
Names = Annotated[
    str | None,
    Parameter(help="of a table without a heading: its columns' names, a,b,c or a file that has them."),
]
SchemaFile = Annotated[
    Path | None,
    Parameter(help="a TOML file that says what a table's columns are; `variate info DATA --out FILE.toml` writes it."),
]
Size = Annotated[str | None, Parameter(help="of a folder of images: height,width that they are brought to.")]
Samples = Annotated[int, Parameter(help="draws per row for log p(x); more are tighter and slower.")]
ScoringSeed = Annotated[int, Parameter(help="of the Monte-Carlo noise.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="print one JSON object.")]
FormerFlag = Annotated[bool, Parameter(show=False, negative="")]  # options that have another name now, which is said
FormerText = Annotated[str | None, Parameter(show=False)]
