import pytest

from lib import errors
from lib.cluster import removal
from lib.errors import CHECKS, FIXED, JOB, WAIT
from lib.report import known_errors
from lib.report.known_errors import NEW_RUN, SAFE, UNKNOWN, explain


def of(error):
    return explain("failed", f"{type(error).__name__}: {error}")


@pytest.mark.parametrize(
    ("error", "word", "again"),
    [
        (errors.Refused("listZones", 401, "unable to verify"), "did not accept the request", FIXED),
        (errors.Refused("x", 401, "no", "This machine's clock is 700 s ahead of it"),
         "clock", FIXED),
        (errors.Refused("createVolume", 429, "The given user has reached"), "too many", FIXED),
        (errors.Refused("createVolume", 430, "no"), "the name of a parameter", "Not before"),
        (errors.Refused("createVolume", 431, "Invalid parameter size"), "value of", FIXED),
        (errors.Refused("attachVolume", 431, "Volume state must be Ready"), "state", WAIT),
        (errors.Refused("attachVolume", 431, "Unable to find volume"), "not there", FIXED),
        (errors.Refused("attachVolume", 431, "The specified VM already has the maximum number of "
                        "data disks (6) attached."), "as many disks", FIXED),
        (errors.Refused("attachVolume", 431, "Specify a volume that is not attached to any VM."),
         "attached to another", FIXED),
        (errors.Refused("createSnapshot", 431, "Volume: x is not in Ready state but Allocated"),
         "never attached", FIXED),
        (errors.Refused("createSnapshot", 431, "There is other active snapshot tasks on the "
                        "instance, please try again later"), "another operation", WAIT),
        (errors.Refused("deployVirtualMachine", 431, "due to invalid value. Invalid value provided "
                        "for API arg: name - it can contain ASCII letters"), "value of", FIXED),
        (errors.Refused("createVolume", 432, "not available"), "may not use it", FIXED),
        (errors.Refused("listVolumes", 433, "page"), "page", FIXED),
        (errors.Refused("listVolumes", 503, "no"), "maintenance", FIXED),
        (errors.JobFailed("deployVirtualMachine", "j", 530, "internal"), "internal error", CHECKS),
        (errors.JobFailed("deployVirtualMachine", "j", 533, "capacity"), "No host", CHECKS),
        (errors.JobFailed("startVirtualMachine", "j", 530, "No suitable host found."), "No host",
         CHECKS),
        (errors.Refused("deployVirtualMachine", 431, "The vm with hostName a-1 already exists in "
                        "the network domain: cs2.internal; network=n"), "holds the name", "Yes"),
        (errors.Refused("createVolume", 534, "max"), "quota", FIXED),
        (errors.Refused("createVolume", 535, "limit"), "quota", FIXED),
        (errors.JobFailed("createVolume", "j", 535, "limit"), "quota", JOB),
        (errors.JobFailed("deleteVolume", "j", 536, "busy"), "uses", WAIT),
        (errors.JobFailed("deleteVolume", "j", 530, "(536) 537)"), "internal error", CHECKS),
    ],
    ids=str,
)  # fmt: skip
def test_the_codes_of_clouds_are_explained(error, word, again):
    known = of(error)
    assert word in known.means
    assert known.do
    assert known.again.startswith(again)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (errors.ParamsError("size", "less", 9), NEW_RUN),
        (errors.CheckFailed("/dev/vdc of volume 1", "blank", "ext4", "Wipe it."), FIXED),
        (errors.NotOne("zone", "name 'x'", []), FIXED),
        (errors.ProfileError("no section x"), FIXED),
        (errors.JobTimeout("createSnapshot", "j", 3600, "disk"), WAIT),
        (errors.ShellFailed("coreos-install -d /dev/vdc", 1, "no space"), CHECKS),
        (errors.OutOfSight("coreos-install -d /dev/vdc", None, "lost"), WAIT),
        (errors.Unreachable("x", "https://c", "lost", may_have_changed=True), CHECKS),
    ],
    ids=str,
)
def test_our_own_errors_need_no_entry_and_their_class_says_if_a_retry_is_safe(error, again):
    option = "-p size=VALUE" if isinstance(error, errors.ParamsError) else ""
    other = "-p NAME=VALUE" if isinstance(error, errors.NotOne) else ""
    assert of(error) == known_errors.Known("", "", again, option, other)


def test_every_class_of_error_says_if_a_retry_is_safe():
    classes = {name for name, held in vars(errors).items() if isinstance(held, type)}
    assert classes == set(SAFE)


@pytest.mark.parametrize(
    "cause", ["kernel-died", "timed-out", "interrupted", "killed", "abandoned"]
)
def test_every_cause_is_explained_without_an_error(cause):
    known = explain(cause, "")
    assert known.means and known.do and known is not UNKNOWN


def test_an_unknown_error_is_reported_as_unknown():
    assert explain("failed", "ZeroDivisionError: division by zero") is UNKNOWN


KEPT = {"volume": True, "volume snapshot": True, "volume template": False, "": False}


@pytest.mark.parametrize(("kept", "warned"), KEPT.items())
def test_the_removal_says_when_what_is_kept_stops_the_next_run(kept, warned, capsys):
    keep = kept.split()
    assert removal.check_keep(keep) == keep
    assert ("the next run stops at 11 or 30" in capsys.readouterr().out) == warned
