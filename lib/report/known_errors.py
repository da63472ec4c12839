"""Known errors: what a message means, what to do about it, and whether trying again is safe.

The table is data. A pattern is searched in the text of the error that stopped a stage; the first
that fits is taken, so the particular stand before the general.
"""

import re
from dataclasses import dataclass, replace

AGAIN = "Yes: a stage looks at the cloud before it acts; what is done already costs only a look."
MENDED = "Yes, once that is mended; what stopped the stage changed nothing."
JOB = (
    "Yes, once that is mended. The job may have changed something before it failed, but the stage "
    "looks at the cloud before it acts."
)
WAIT = "Yes, but not at once: let what is still running come to its end first."


@dataclass(frozen=True)
class KnownError:
    """A message: its pattern, what it means, what to do, and whether trying again is safe."""

    pattern: str
    means: str
    do: str
    again: str = AGAIN


UNKNOWN = KnownError(
    "",
    "This message is not in the table of known errors; its own words are all there is.",
    "Read the last cells of the stage below. If they do not tell, run the stage with --mode plan: "
    "that changes nothing and shows what it finds.",
)


def explain(cause: str, error: str) -> KnownError:
    """Return the first known error that fits the text, or what fits the cause of the stop."""
    found = (k for k in KNOWN if error and re.search(k.pattern, error, re.I | re.S))
    known = next(found, BY_CAUSE.get(cause, UNKNOWN))
    job = known.again == MENDED and "accepted and then failed" in error
    return replace(known, again=JOB) if job else known


def _code(number: str) -> str:
    """Return the pattern of an error code as refusals and failed jobs show it."""
    return rf"(refused|failed) \({number}\)"


BY_CAUSE = {
    "kernel-died": KnownError(
        "",
        "The process that ran the notebook ended by itself: a crash, a kill from outside, or no "
        "memory left. What it had sent before may have been done.",
        "Look at the machine's memory (`dmesg | tail` tells of a kill), then resume: the journal "
        "tells what was sent, and the stage looks it up before it sends anything.",
    ),
    "timed-out": KnownError(
        "",
        "A cell took longer than --cell-timeout allows and was interrupted. What it had started "
        "at the cloud goes on there.",
        "Give it more time (--cell-timeout, or the parameter patience), then resume.",
        WAIT,
    ),
    "interrupted": KnownError(
        "",
        "The run was told to stop (Ctrl-C, SIGTERM, or its terminal was closed), and the running "
        "cell ended in order. Jobs that the cloud had accepted go on there.",
        "Resume when you want to go on: a job that still runs is joined and not repeated.",
    ),
    "killed": KnownError(
        "",
        "The run was told to stop, and the running cell did not end in time, so it was killed. "
        "What it had sent may have been done.",
        "Resume: the journal tells what was sent, and the stage looks it up before it sends again.",
    ),
    "abandoned": KnownError(
        "",
        "The program that led the run ended without a word: it was killed, or the machine went "
        "down. The stage that ran then may have been anywhere in its work.",
        "Resume: finished stages cost a look, and what was sent without a known answer is looked "
        "up before anything is sent.",
    ),
}

KNOWN = (
    KnownError(
        r"secret stands in|looks like a secret|known secret",
        "A secret value stands in a file of the record, or was about to.",
        "Treat that key or token as disclosed: make a new one, and keep this folder to yourself.",
    ),
    KnownError(
        r"clock is \d+ s (ahead of|behind)",
        "The request was signed at a time that the server does not accept.",
        "Set this machine's clock (NTP), then try again.",
        MENDED,
    ),
    KnownError(
        _code("401"),
        "The cloud does not know who is asking: the API key is unknown or disabled, the secret is "
        "not its own, the command is not there for this account, or the request came after its "
        "expiry, as this machine's clock is wrong.",
        "Compare the profile with the keys in the cloud's web console, and this machine's clock "
        "with another one. Nothing was changed by the call.",
        MENDED,
    ),
    KnownError(
        _code("429") + r"|too many requests|throttled",
        "The cloud turned calls away because too many came from this account in a short time.",
        "Wait a minute, see that no other program works with the same account, then try again.",
    ),
    KnownError(
        _code("430"),
        "A parameter's name was not one that the cloud could read.",
        "This is a fault of the runbook and not of yours: see the call in the journal.",
        "Not before it is mended: the same call would be refused again. It changed nothing.",
    ),
    KnownError(
        _code("431") + r".*maximum number of data disks",
        "The machine has as many disks as its hypervisor takes. Waiting does not change that.",
        "Detach a disk that is not needed from the machine, or take another machine as "
        "`workstation`.",
        MENDED,
    ),
    KnownError(
        _code("431") + r".*volume that is not attached to any",
        "The disk is attached to another machine.",
        "Look under Before which machine has it, and detach it there.",
        MENDED,
    ),
    KnownError(
        _code("431") + r".*in Ready state but Allocated",
        "The disk was never attached to a machine, so nothing is stored of it yet.",
        "Run the stages from 11-attach-volume on.",
        MENDED,
    ),
    KnownError(
        _code("431") + r".*already exists in the network domain",
        "Another machine in that network holds the name. Mostly that is one that was destroyed: "
        "CloudStack keeps it, unseen by the account, until it expunges it (expunge.delay and "
        "expunge.interval, a day each by default). The call changed nothing.",
        "Go on at once under other numbers: run with the same parameters and first_number as the "
        "message says, and keep it in the parameter file. Or wait until the cloud has expunged.",
        "Yes, with another first_number, or once the cloud has expunged the machine.",
    ),
    KnownError(
        _code("431") + r".*(unable to find|does not exist|\binvalid\b.*\bu?u?id\b|\bunknown\b)",
        "Something that the call names is not there: removed meanwhile, of another zone or of "
        "another account.",
        "Look at the table under Before. What has gone is made again by the stage that makes it.",
    ),
    KnownError(
        _code("431")
        + r".*(\bin \w+ (state|status)\b|in progress|try again later|other active|"
        + r"state must be|either running or stopped)",
        "Something is in a state in which this is not possible; often another operation on the "
        "same thing is still going on.",
        "Look at its state under Before, let the other operation end, then try again.",
        WAIT,
    ),
    KnownError(
        _code("431"),
        "The cloud does not accept a value of the call, or not in the present state of what it "
        "names. The call changed nothing.",
        "Its own words above name the value. Correct that parameter, then try again.",
        MENDED,
    ),
    KnownError(
        _code("432"),
        "The command does not exist on this cloud, or this account may not use it.",
        'Ask the provider to allow it, or take another way; `cloud.help("command")` in the '
        "Explore notebook tells what the cloud offers this account.",
        MENDED,
    ),
    KnownError(
        _code("433"),
        "More rows were asked for than the cloud gives on one page.",
        "Tell the provider's page limit to whoever keeps this runbook.",
        MENDED,
    ),
    KnownError(
        _code("531"),
        "This account may not do that: it belongs to another account, or to an administrator.",
        "See that the profile is that of the account that owns the resources.",
        MENDED,
    ),
    KnownError(
        _code("532"),
        "A limit of the account itself was reached.",
        "Ask the provider to raise it, or remove something.",
        MENDED,
    ),
    KnownError(
        _code("533") + r"|No suitable host found",
        "No host could take it: not enough room left in the zone, or no host has the tag that the "
        "service offering asks for. The machine stays Stopped, and the next run starts it; on "
        "CloudStack 2.2 it was in Error and is cleared away.",
        "Name other offerings in fallback_offerings, take a smaller service_offering, or try "
        "later. The table under Apply shows what an account can see of the causes.",
    ),
    KnownError(
        _code("534"),
        "Something that the cloud needs for this cannot be used now; on CloudStack 2.2 and 3.0 it "
        "also stands for a quota that is used up.",
        "Look at the quotas that 00-check-access shows. If there is room, try later.",
    ),
    KnownError(
        _code("535"),
        "A quota of the account is used up (machines, volumes, snapshots, templates, addresses or "
        "storage).",
        "Ask the provider for more, or remove what you no longer need, then try again.",
        MENDED,
    ),
    KnownError(
        _code("(536|537)"),
        "Something else uses what the call wanted to change.",
        "Find out what uses it, end that, then try again.",
        WAIT,
    ),
    KnownError(
        _code("(500|502|503|504)"),
        "The cloud's management server is in maintenance or does not work at present.",
        "Wait until the provider says that it is over, then try again.",
    ),
    KnownError(
        r"cloud does not tell how the job ended",
        "The job was accepted, but the cloud no longer knows it: jobs are forgotten after a day, "
        "and at a restart of the management server.",
        "What it was to do may have been done. Resume: the stage looks before it acts.",
    ),
    KnownError(
        _code("530"),
        "Something went wrong inside the cloud. All that it tells an account is the text below.",
        "Try once more. If it fails again, give the provider the job id and the time.",
    ),
    KnownError(
        r"JobTimeout|is still running after",
        "The job took longer than the parameter patience allows. It was not cancelled and may yet "
        "succeed.",
        "Wait, then resume: a job that still runs is joined, one that ended is found by its "
        "result. For a slow cloud set patience higher.",
        WAIT,
    ),
    KnownError(
        r"discovery.*(no answer|refused|wanted|unknown)|the token|registered with the token",
        "The discovery service did not answer as wanted, or its token is used up: a token makes "
        "one cluster, and machines find each other only through it.",
        "Check that the service is up (its /health) and reachable from here and from the "
        "machines. For a token that others used, make a new cloud-config: remove the old one, "
        "then run again from 20-write-cloud-config.",
    ),
    KnownError(
        r"TLS certificate was not accepted",
        "The server's certificate is not signed by an authority that is known here.",
        "Give the private authority's file as `verify` in the profile.",
        MENDED,
    ),
    KnownError(
        r"URL of the endpoint may be wrong",
        "Something that is not CloudStack's API answered: the web console, a proxy, or another "
        "program.",
        "Set `endpoint` in the profile to the URL of the API, which ends in /client/api.",
        MENDED,
    ),
    KnownError(
        r"however it is asked",
        "The cloud counts more rows in a list than it shows, so something may be there that was "
        "not seen. Nothing was made in its stead.",
        "Wait until nobody else works in the account, then resume.",
    ),
    KnownError(
        r"no answer from|Unreachable|ConnectionError|connection was lost",
        "No usable answer came from the cloud: the network, a proxy, or the server. A change that "
        "was sent may have been made.",
        "See that the endpoint answers, then resume: the journal holds what was sent, and it is "
        "looked up before anything is sent again.",
    ),
    KnownError(
        r"the disk to write on",
        "After the attach no new disk could be told for certain on the workstation: none came, or "
        "more than one. Nothing was written to any disk.",
        "Look at the disks under Before. Let the workstation scan its bus, detach what else was "
        "attached meanwhile, then run again from 11-attach-volume.",
    ),
    KnownError(
        r"wanted blank",
        "The disk that was found is not empty, so it was not written to.",
        "See what it holds. Only if it may go, wipe it by hand on the workstation.",
        "Yes, once the disk is blank; nothing was written.",
    ),
    KnownError(
        r"(coreos|flatcar)-install.*(wanted on root's PATH|not found)",
        "The installer is not on the workstation.",
        "Put it in /usr/local/bin there and make it executable.",
        MENDED,
    ),
    KnownError(
        r"BAD signature|can't check signature|no valid OpenPGP",
        "The image that was downloaded is not signed as it should be: a broken download, a proxy "
        "that alters it, or worse.",
        "Download again; if it stays so, compare the mirror and the key. Do not go round it.",
    ),
    KnownError(
        r"installers at work on the workstation",
        "An installer still writes onto the disk that is to be removed.",
        "Let it end; 30-install-coreos follows it. Then try again.",
        WAIT,
    ),
    KnownError(
        r"(coreos|flatcar)-install|`.*install.*` on the workstation",
        "The installer ended badly. Its last lines stand above; they tell whether the disk was "
        "written to already.",
        "Mend what it says (mostly network, name servers or room in /tmp of the workstation), then "
        "try again: the disk is written from its beginning.",
    ),
    KnownError(
        r"over SSH: wanted",
        "A machine of the cluster was not reached over ssh, or its user may not use sudo there.",
        "Load the private half of ssh_key_file into the agent; on the machine sudo must work "
        "without a password: none is handed over to it.",
        MENDED,
    ),
    KnownError(
        r"Host key verification failed|Permission denied|workstation was not reached",
        "The workstation was not reached over ssh.",
        "Log in by hand once with the same user and host, accept the host key after comparing it, "
        "load your key into the agent, then try again.",
        MENDED,
    ),
    KnownError(
        r"\bsudo\b|not root",
        "The user on the workstation may not work on disks.",
        "Allow it without a password, or set RUNBOOK_SUDO_PASSWORD where runbook is started.",
        MENDED,
    ),
    KnownError(
        r"on the workstation (ended with|did not end)",
        "A command on the workstation ended badly or not in time.",
        "Its own words are above. Log in there and see.",
    ),
    KnownError(
        r"wanted exactly one",
        "A name in the parameters fits nothing at the cloud, or more than one thing.",
        "The message lists the names there are: correct the parameter. One of several namesakes "
        "is given by its id, as id:….",
        MENDED,
    ),
    KnownError(
        r"left to do: wanted",
        "The stage did its work, but planning again found something left: the cloud does not "
        "show what was asked for, or not yet.",
        "Look at the table under After, then resume.",
    ),
    KnownError(
        r"ProfileError",
        "The profile with the endpoint and the keys cannot be used.",
        "The message names the file and the key that is missing or wrong.",
        MENDED,
    ),
    KnownError(
        r"CheckFailed|ParamsError",
        "Something was not as this stage needs it, so it stopped before changing anything in "
        "that cell.",
        "The message says what was wanted, what was found, and what to do.",
        MENDED,
    ),
    KnownError(
        r"SystemExit",
        "A cell ended the kernel early and so did not do its work.",
        "Take the exit out of that cell; a stage ends with its last cell.",
    ),
)
