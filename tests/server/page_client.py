# SPDX-License-Identifier: MIT
"""A browser without a screen: cookies, forms, and the elements of a page by what they are."""

from html.parser import HTMLParser

import requests

PATIENCE_S = 20


class Document(HTMLParser):
    """All elements of a page as (tag, attributes), all its text, and each form's address and fields."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.forms = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if tag == "form":
            self.forms.append((attrs.get("action"), {}))
        if tag == "input" and self.forms and attrs.get("name"):
            self.forms[-1][1][attrs["name"]] = attrs.get("value", "")

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def form(self, action):
        return next(fields for address, fields in self.forms if address.startswith(action))


class Browser:
    def __init__(self, first):
        self.url = first["https"]
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = first["ca_file"]

    def log_in(self, token):
        return self.post("/ui/login", {"token": token})

    def get(self, path, **more):
        return self.session.get(self.url + path, timeout=PATIENCE_S, allow_redirects=False, **more)

    def page(self, path):
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
        return Document(answer.text)

    def post(self, path, form, origin=None, **more):
        headers = {"Origin": self.url if origin is None else origin, **more.pop("headers", {})}
        if not headers["Origin"]:
            del headers["Origin"]
        return self.session.post(
            self.url + path, data=form, headers=headers, timeout=PATIENCE_S, allow_redirects=False, **more
        )

    def submit(self, page, action, **fields):
        """Press the button of the form with this address on that page."""
        address, filled = next(form for form in self.page(page).forms if form[0].startswith(action))
        return self.post(address, {**filled, **fields})
