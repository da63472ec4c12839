# The coreos-install of 2019 waits for a trap on RETURN that bash 5.2 no longer runs in `>(…)`. That
# of 2014 has gpg verify a file that it does not name, which gpg 2.1 and newer refuse in a batch.
grep -qw RETURN "$at" && bash -c 'echo traps with bash ${BASH_VERSINFO[0]}.${BASH_VERSINFO[1]}'
grep -Eq -e '--verify +("[^"]*"|[^" ;|&]+) *($|[;|&])' "$at" &&
    echo verifies with "$(gpg --version | head -n 1)"
