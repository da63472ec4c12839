"""The client against a real HTTP server: what it sends, retries and explains."""

import ssl
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import trustme
from harness import changes, client, fault, volume_params
from registries import Handler, answering

from lib.api.answers import parsed
from lib.cloud import Cloud
from lib.errors import ParamsError, ProfileError, Refused, Unreachable
from lib.localcloud.wire.server import Server
from lib.profiles import Profile


def test_an_answer_is_unwrapped(cloud):
    assert cloud.call("listCapabilities")["capability"]["cloudstackversion"].startswith("4.22")
    assert cloud.version[:2] == (4, 22) and cloud.has_tags


def test_both_dialects_are_understood(old_cloud):
    assert old_cloud.version[:2] == (2, 2) and not old_cloud.has_tags
    assert old_cloud.list("listVirtualMachines")[0]["displayname"] == "my-workstation"


def test_a_list_that_the_account_may_not_ask_for_is_none(cloud):
    assert cloud.list_if_allowed("listHypervisors") != []
    for code in (401, 432):
        fault(cloud, "listHypervisors", f"fault:refuse;code:{code};text:no")
        assert cloud.list_if_allowed("listHypervisors") is None
    fault(cloud, "listHypervisors", "fault:refuse;code:431;text:Unable to find zone")
    with pytest.raises(Refused, match="Unable to find zone"):
        cloud.list_if_allowed("listHypervisors")


def test_the_commands_of_a_server_that_hides_its_version_tell_its_abilities(cloud, tmp_path):
    cloud.capabilities.pop("cloudstackversion")
    assert cloud.version == () and cloud.has_tags
    assert cloud.can_choose_job_ids and cloud.can_keep_user_data and cloud.can_take_long_user_data
    assert not cloud.help("createVolume").empty
    with Server(tmp_path / "bare", time_scale=0, refuse="createTags,listUserData") as bare:
        cloud = client(bare)
        cloud.capabilities.pop("cloudstackversion")
        assert not cloud.has_tags and not cloud.can_keep_user_data


def test_user_data_are_not_registered_where_the_role_lacks_the_command(tmp_path):
    with Server(tmp_path, time_scale=0, may_expunge=1, refuse="registerUserData") as bare:
        assert not client(bare).may_register
    with Server(tmp_path / "other", time_scale=0, may_expunge=1) as full:
        assert client(full).may_register


def test_wrong_credentials_are_explained_and_not_shown(server):
    for wrong in ({"key": "nobody"}, {"secret": "not his"}):
        cloud = client(server, **wrong)
        with pytest.raises(Refused) as error:
            cloud.list_if_allowed("listZones")  # 401 here does not mean a missing permission
        text = str(error.value)
        assert error.value.code == 401 and "API key is unknown or disabled" in text
        assert f"it is {datetime.now(UTC):%Y-%m-%d %H:}" in text and "date -u" in text
        assert cloud.profile.key not in text and cloud.profile.secret not in text


REFUSAL = {"errorresponse": {"errorcode": 401, "errortext": "unable to verify"}}


def test_a_401_names_a_wrong_clock_as_a_cause_if_requests_expire(server, tmp_path, monkeypatch):
    ahead = Server(tmp_path / "ahead", time_scale=0, clock=lambda: time.time() + 3600)
    with ahead, pytest.raises(Refused, match="Or this machine's clock is wrong"):
        client(ahead).list("listZones")
    assert client(server, expires=0).list("listZones")
    with pytest.raises(Refused) as no:
        client(server, expires=0, secret="not his").list("listZones")
    assert "API key is unknown" in str(no.value) and "clock" not in str(no.value)
    later = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(Handler, "date_time_string", lambda *_: format_datetime(later))
    wanted = r"\(401\).*clock is 3[56]\d\d s behind the server's"
    with answering({"/": (401, REFUSAL)}) as proxy, pytest.raises(Refused, match=wanted):
        Cloud(Profile("x", f"{proxy.base}/", "k", "s")).list("listZones")


def test_control_characters_are_refused_before_anything_is_sent(cloud):
    with pytest.raises(ParamsError, match="name"):
        cloud.call("createVolume", **volume_params(cloud) | {"name": "a\tb"})
    assert changes(cloud) == []


ODD = ["a*b~c-d.e_f", "a+b c", "É té 日本語", "[x](y){z}", "a/b:c@d!e'f$g,h;i?j#k%l=m&n"]


def test_the_server_accepts_the_signature_of_any_name(cloud):
    params = volume_params(cloud)
    for name in ODD:
        cloud.call("createVolume", **params | {"name": name})
    assert set(ODD) <= {v["name"] for v in cloud.list("listVolumes")}


def test_the_client_asks_for_smaller_pages_if_the_server_demands_it(server, monkeypatch):
    monkeypatch.setattr("lib.api.client.PAGE", 1000)
    assert client(server).list("listZones")


def test_a_question_is_retried_a_limited_number_of_times(cloud):
    for kind in ("html;code:503", "drop-before", "refuse;code:530;text:busy"):
        fault(cloud, "listZones", f"fault:{kind}", count=2)
        assert cloud.list("listZones")
    fault(cloud, "listZones", "fault:html;code:503", count=99)
    with pytest.raises(Unreachable, match=r"HTTP 503 with text/html.*Nothing was changed"):
        cloud.list("listZones")


def test_a_throttled_client_waits_as_long_as_the_error_text_demands(server):
    pauses = []
    cloud = client(server, sleep=pauses.append)
    cloud.clock = lambda: sum(pauses)
    wanted = volume_params(cloud)
    text = "The given user has reached his/her account api limit, please retry after [532] ms."
    fault(cloud, "createVolume", f"fault:refuse;code:429;text:{text}", count=2)
    cloud.call("createVolume", **wanted)
    assert pauses == pytest.approx([0.532, 0.532])


UNREACHABLE = {
    "127.0.0.1:9": r"no connection could be made\. Nothing was changed",
    "cloud.invalid": r"\(DNS\).*`endpoint` of profile x is spelt right\. Nothing was changed",
}


@pytest.mark.parametrize("host", UNREACHABLE)
def test_a_host_that_is_not_reached_is_reported_and_nothing_changes(host):
    nobody = Profile("x", f"http://{host}/client/api", "k", "s")
    with pytest.raises(Unreachable, match=UNREACHABLE[host]):
        Cloud(nobody, sleep=lambda s: None).call("createVolume")


def test_a_web_page_instead_of_an_answer_is_reported_with_the_usual_end_of_the_url(server):
    pauses = []
    cloud = client(server, sleep=pauses.append)
    for code in ("200", "404"):
        fault(cloud, "listZones", f"fault:html;code:{code}")
        with pytest.raises(Unreachable, match=r"not a CloudStack answer.*/client/api\. Set `endp"):
            cloud.list("listZones")
    assert pauses == []
    fault(cloud, "listZones", "fault:html;code:401")
    with pytest.raises(
        Unreachable, match="asks for a user and a password: give them in `endpoint`"
    ):
        cloud.list("listZones")


@pytest.mark.parametrize("code", ["200", "302", "404", "503"])
def test_a_change_that_a_proxy_answers_may_have_been_done(server, code):
    wanted = volume_params(client(server))
    with answering({"/": (int(code), "<p>moved</p>")}) as proxy:
        other = client(server, endpoint=f"{proxy.base}/")
        with pytest.raises(Unreachable, match="It may have been done all the same") as no:
            other.ask("createVolume", **wanted)
    assert no.value.may_have_changed


def test_malformed_json_of_cloudstack_is_read():
    assert parsed('{"a":{"name":"x\ty"}}') == {"a": {"name": "x\ty"}}
    text = '{ "createvolumeresponse" : {"errorcode" : 431, "errortext" : "the name "x" is bad"}  }'
    assert parsed(text)["error"] == {"errorcode": 431, "errortext": 'the name "x" is bad'}
    assert parsed("<html>") is None and parsed("[1]") is None


def test_a_cloud_is_printed_without_its_keys(cloud):
    assert cloud.profile.key not in repr(cloud) and cloud.profile.secret not in repr(cloud)
    assert cloud.profile.endpoint in str(cloud)


def test_help_shows_the_parameters_that_the_server_lists(server):
    found = client(server).help("createVolume")
    assert {"name", "size", "diskofferingid"} <= set(found["name"])
    cloud = client(server)
    with pytest.raises(Refused, match=r"createWorld was refused \(432\): this cloud has no such"):
        cloud.help("createWorld")
    asked = [c for c in cloud.list("listSimulatorCalls") if c["params"].get("name")]
    assert [c["params"]["name"] for c in asked] == ["createVolume", "createWorld"]


def test_help_searches_commands_and_the_error_about_a_misspelt_one_names_the_nearest(cloud):
    every, some = cloud.help(), cloud.help("volume")
    assert len(every) > len(some) and list(every)[:2] == ["name", "description"]
    assert {"createVolume", "listVolumes"} <= set(some["name"]) < set(every["name"])
    nearest = r"Did you mean listVolumes or .*\?"
    for ask in (cloud.call, cloud.list, cloud.help):
        with pytest.raises(Refused, match=nearest) as raised:
            ask("listVolumse")
        assert "verify user credentials" not in str(raised.value)
    with pytest.raises(Refused, match="Did you mean createVolume"):
        cloud.call("createVolumee", name="x")
    asked = [c for c in cloud.list("listSimulatorCalls") if c["command"] == "listApis"]
    assert len([c for c in asked if not c["params"].get("name")]) == 1


@pytest.fixture
def tls(server):
    """The URL of the local cloud behind TLS, and the private CA of its certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    listener = server.listener
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    yield server.connection["endpoint"].replace("http:", "https:"), authority


def test_a_certificate_is_refused_until_the_profile_names_its_private_ca(server, tls, tmp_path):
    with pytest.raises(ProfileError, match=r"verify = /path/to/ca\.pem"):
        client(server, endpoint=tls[0]).list("listZones")
    bundle = tmp_path / "ca.pem"
    cloud = client(server, endpoint=tls[0], verify=str(bundle))
    with pytest.raises(ProfileError, match=r"verify of profile local: .*ca\.pem cannot be read"):
        cloud.list("listZones")
    tls[1].cert_pem.write_to_path(bundle)
    assert cloud.list("listZones")


@pytest.mark.parametrize("question", [True, False])
def test_user_and_password_of_a_proxy_are_sent_as_basic_authentication(server, question):
    cloud = client(server, login=("ops", "hunter2-hunter2"))
    answer = cloud.transport.post("listZones", {}, question)
    basic = b64encode(b"ops:hunter2-hunter2").decode()
    assert answer.ok and answer.request.headers["Authorization"] == f"Basic {basic}"
    cloud.call("listZones")
    written = [path.read_text("utf-8") for path in cloud.folder.iterdir()]
    assert not any("hunter2" in text for text in [*written, str(cloud)])
