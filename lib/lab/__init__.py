"""The lab: the procedure in JupyterLab, for whoever works by hand.

completion the commands of a cloud, their parameters and columns, when Tab is pressed
given      the parameters of a notebook, checked in its kernel
index      the notebook that JupyterLab opens: where the procedure stands, links, earlier runs
kernel     what a notebook's kernel gets when it connects: errors as boxes, checked parameters
opening    what `runbook lab` does
prepare    makes the working folder: a copy of each notebook, with the parameters of a file
procedure  the state of each stage at the cloud, as a picture
server     starts JupyterLab in the working folder, with the settings of `settings/`
took       how long the jobs of each command took, run by run
"""

__all__ = ["given", "index", "kernel", "opening", "prepare", "procedure", "server", "took"]
