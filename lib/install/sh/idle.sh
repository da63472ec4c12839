@left@
[ -z "$(left)" ] && flock -n -s @folder@/lock true && echo idle; true
