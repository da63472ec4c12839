"""The form of answers: envelopes of both dialects, XML, HTTP."""

import html
import json
import socket
from http.client import HTTPConnection
from urllib.parse import urlsplit

from lib.localcloud.wire.server import parameters


def test_parameters_come_from_query_and_form_and_the_query_wins():
    found = parameters("command=a&x=1&x=2&alone&y=%C3%A9+", "command=b&z=1&z=2")
    assert found == {"command": "a", "x": "2", "y": "é ", "z": "1"}


def test_an_empty_list_has_neither_count_nor_array(api, old):
    assert api.raw("listSnapshots").text == '{"listsnapshotsresponse":{}}'
    assert old.raw("listSnapshots").text == '{ "listsnapshotsresponse" : { } }'


def test_a_list_stands_under_its_kind_with_a_count(api, old):
    assert api.raw("listHypervisors").text == (
        '{"listhypervisorsresponse":{"count":1,"hypervisor":[{"name":"KVM"}]}}'
    )
    assert old.raw("listHypervisors").text == (
        '{ "listhypervisorsresponse" : { "count":1 ,"hypervisor" : [  {"name":"VMware"} ] } }'
    )


def test_success_is_true_or_the_word_true(api, old):
    gone = api.volume()["id"]
    assert api.raw("deleteVolume", id=gone).text == '{"deletevolumeresponse":{"success":true}}'
    gone = old.volume()["id"]
    assert old.raw("deleteVolume", id=gone).text == (
        '{ "deletevolumeresponse" : { "success" : "true"}  }'
    )


def test_jobs_are_accepted_with_their_number(api, old):
    volume = old.volume("first")["id"]
    assert volume == 80921
    answer = old.raw("attachVolume", id=volume, virtualmachineid=53553)
    assert answer.text == '{ "attachvolumeresponse" : {"jobid":1131658} }'
    made = api.raw(
        "createVolume", name="x", size=1, zoneid=api.zone(),
        diskofferingid=api.id_of("listDiskOfferings", "Custom Disk"),
    )  # fmt: skip
    assert list(made.body) == ["id", "jobid"]


def test_errors_name_code_and_cause(api, old):
    answer = api.raw("deleteVolume", id=10**6)
    assert answer.status == 431
    assert json.loads(answer.text) == {
        "deletevolumeresponse": {
            "uuidList": [],
            "errorcode": 431,
            "cserrorcode": 4350,
            "errortext": "Unable to find volume with ID: 1000000",
        }
    }
    assert old.raw("deleteVolume", id=1).text == (
        '{ "deletevolumeresponse" : '
        '{"errorcode" : 431, "errortext" : "Unable to find volume with ID: 1"}  }'
    )
    assert answer.description == "Unable to find volume with ID: 1000000"


def test_an_old_server_does_not_escape_quotes_in_errors(old):
    answer = old.raw("listVolumes", pagesize=5)
    assert '"errortext" : ""page" parameter is required' in answer.text


def test_backslash_u_in_a_text_breaks_the_json_as_on_a_real_server(api):
    made = api.raw(
        "createSnapshot", name="\\u0041", volumeid=api.attached()["id"]
    )  # fmt: skip
    assert made.status == 200
    assert '"name":"\\A"' in api.raw("listSnapshots").text


def test_answers_are_xml_unless_json_is_requested(api):
    answer = api.raw("listHypervisors", response="xml")
    assert answer.type == "text/xml;charset=utf-8"
    assert answer.text == (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<listhypervisorsresponse cloud-stack-version="4.22.0.0">'
        "<count>1</count><hypervisor><name>KVM</name></hypervisor></listhypervisorsresponse>"
    )


def test_xml_holds_what_breaks_the_json(api, old):
    answer = old.raw("listVolumes", pagesize=5, response="xml")
    assert '<errortext>"page" parameter is required' in html.unescape(answer.text)
    api.raw("createSnapshot", name="\\u0041", volumeid=api.attached()["id"])
    assert "<name>\\u0041</name>" in api.raw("listSnapshots", response="xml").text
    api.raw("configureSimulator", name="listZones", value="fault:malformed")
    assert api.raw("listZones", response="xml").status == 200


def test_one_connection_serves_many_requests(api):
    place = urlsplit(api.facts["endpoint"])
    line = HTTPConnection(place.hostname, place.port)
    for _ in range(3):
        line.request("GET", "/health")
        assert line.getresponse().read() == b"OK"
    line.close()


def test_only_this_machine_can_connect(api):
    assert api.server.listener.socket.getsockname()[0] == "127.0.0.1"


def test_a_very_long_line_is_refused_in_html(api):
    answer = api.raw("listVolumes", method="GET", name="x" * 9000)
    assert answer.status == 414
    assert "html" in answer.type


def test_names_of_parameters_may_have_any_case_but_commands_may_not(api):
    assert "volume" in api("listVolumes", virtualMachineId=api.workstation())
    assert api.raw("ListVolumes").status == 401


def test_unknown_parameters_are_passed_over(api):
    assert api("listZones", colour="blue")["count"] == 1


def test_bad_parameters_are_refused_in_the_servers_words(api):
    zone = api.zone()
    for params, why in [
        ({}, "missing parameter id"),
        ({"id": ""}, "invalid value. Invalid value provided for API arg: id"),
        ({"id": "nonsense"}, "invalid value. Invalid parameter id value=nonsense due to"),
    ]:
        code, text = api.refused("deleteVolume", **params)
        assert code == 431
        assert text.startswith(f"Unable to execute API command deletevolume due to {why}")
    code, text = api.refused("createVolume", name="x", zoneid=zone, size="big")
    assert text.endswith("due to invalid value big for parameter size")
    code, text = api.refused("createVolume", name="x" * 256, zoneid=zone)
    assert text == "Value greater than max allowed length 255 for param: name"


def test_maps_must_be_written_as_maps(api):
    answer = api.raw(
        "createTags", **{"tags[a].key": "k", "resourceids": 1, "resourcetype": "Volume"}
    )
    assert answer.status == 430


def test_an_internal_number_does_for_an_id(api):
    number = api.server.cloud.one("zone")["n"]
    assert api("listZones", id=number)["count"] == 1


def test_a_removed_id_is_known_but_a_foreign_one_is_not(api):
    gone = api.volume()["id"]
    api("deleteVolume", id=gone)
    assert api("listVolumes", id=gone) == {}
    code, text = api.refused("deleteVolume", id=gone)
    assert (code, text) == (431, "Unable to find volume with ID: 3")  # its internal number


def test_other_paths_belong_to_discovery(api):
    base = api.facts["endpoint"].removesuffix("/client/api")
    place = urlsplit(base)
    with socket.create_connection((place.hostname, place.port)) as line:
        line.sendall(b"GET /new?size=3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = line.makefile().read()
    assert text.splitlines()[-1].startswith(f"{base}/")
