"""Colours of labels and of errors, the same in figures and on the page; colour-blind readers can tell them apart."""

LABEL_COLOURS = (
    "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00", "#999999", "#882255",
    "#44AA99", "#DDCC77", "#AA4499", "#88CCEE", "#117733", "#CC6677", "#332288",
)  # fmt: skip
"""Of label values 1, 2, …: Okabe and Ito's, then Tol's."""
ERROR_COLOURS = {"missed": "#FF00FF", "extra": "#00FF00", "wrong label": "#0000FF"}
"""Of the values 1, 2, 3 of an error map; far from those of all labels and from gray."""
ROLE_COLOURS = ("#404040", "#BFBFBF")
"""Of student and teacher: no arm has them."""
CURVE_COLOURS = ("#332288", "#882255", "#117733", "#661100", "#999933", "#AA4499")
"""Of an arm as a curve, which stands for several arms and has the colour of none: Tol's muted ones."""
ARM_COLOURS = (
    "#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC", "#CA9161", "#FBAFE4", "#949494", "#ECE133", "#56B4E9",
)  # fmt: skip
"""Of arms: seaborn's ten that colour-blind readers can tell apart."""
VERDICT_COLOURS = {"gain": "#0173B2", "loss": "#D55E00", "equivalent": "#404040"}
"""Of verdicts that hold."""
