"""Intel as it comes: an indicator of STIX, an event of MISP and an attribute of one."""


def indicator(number, **more):
    return {
        "type": "indicator", "spec_version": "2.1", "id": f"indicator--00000000-0000-4000-8000-{number:012d}",
        "created": "2026-03-10T12:00:00.000Z", "modified": "2026-03-10T12:00:00.000Z", "pattern_type": "stix",
        "pattern": f"[ipv4-addr:value = '198.51.100.{number}']", "valid_from": "2026-03-10T12:00:00Z", **more,
    }


def attribute(number, type_="ip-dst", value=None, **more):
    return {"id": str(number), "uuid": f"00000000-0000-4000-8000-{number:012d}", "event_id": "1", "type": type_,
            "category": "Network activity", "value": value or f"198.51.100.{number}", "to_ids": True, "comment": "",
            "timestamp": "1773140000", "distribution": "5", "deleted": False, **more}


def event(number, *attributes, tags=(), **more):
    return {"Event": {
        "id": str(number), "uuid": f"11111111-0000-4000-8000-{number:012d}", "info": f"event {number}",
        "date": "2026-03-10", "threat_level_id": "2", "analysis": "2", "distribution": "3", "published": True,
        "timestamp": str(1773140000 + number), "publish_timestamp": str(1773140000 + number),
        "Orgc": {"id": "1", "name": "CIRCL", "uuid": "x"}, "Attribute": list(attributes), "Object": [], "Galaxy": [],
        "Tag": [{"name": tag, "colour": "#fff"} for tag in tags], "RelatedEvent": [{"Event": {"id": "7"}}], **more,
    }}
