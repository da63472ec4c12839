# `left` lists all processes of the command, daemons included.
mark="RUNBOOK_INSTALL=$(pwd -P)/"@folder@
left() { grep -Flzsx "$mark" /proc/[0-9]*/environ | cut -d/ -f3; }
