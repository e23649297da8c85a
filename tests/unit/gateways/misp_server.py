"""What speaks as MISP's documented API does, as far as it is asked here: there is no MISP on this machine."""

import json

KEY = "k" * 40


class Misp:
    """`events`: those that it has, in the order of their ids."""

    def __init__(self, *events):
        self.events = list(events)
        self.questions = []

    def __call__(self, path, headers, body):
        if headers.get("Authorization") != KEY:
            return 403, {}, {"name": "Authentication failed.", "message": "no key", "url": path}
        if path != "/events/restSearch" or headers.get("Content-Type") != "application/json":
            return 404, {}, {"name": "Not Found"}
        question = json.loads(body)
        self.questions.append(question)
        found = [
            each for each in self.events
            if int(each["Event"]["publish_timestamp"]) >= question.get("publish_timestamp", 0)
            and (each["Event"]["published"] or not question.get("published"))
        ]
        at, limit = question["page"] - 1, question["limit"]
        return 200, {}, {"response": found[at * limit : (at + 1) * limit]}
