"""The lab: the procedure in JupyterLab, for whoever works by hand.

index      the notebook that JupyterLab opens: where the procedure stands, links, earlier runs
opening    what `runbook lab` does
prepare    makes the working folder: a copy of each notebook, with the parameters of a file
procedure  the state of each stage at the cloud, as a picture
server     starts JupyterLab in the working folder, with the settings of `settings/`
"""

__all__ = ["index", "opening", "prepare", "procedure", "server"]
