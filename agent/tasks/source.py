# SPDX-License-Identifier: MIT
"""Where an image comes from: the repository's targets, the URL of a bundle, or a file on the device.

A release with "source" comes in a bundle: {"url" or "file", "prefix": bytes before
the image, "length": of the whole file, "sha256": of the whole file as the offer
says, or None}.  Others have "address", where the repository keeps their image.

Rules kept
 * Only https.  The client certificate goes to the configured server alone, and to
   nobody any more once a redirect has led elsewhere, not even back.
 * The URL of an offer may be redirected, a few times (`redirect`); the configured
   server answers itself, for metadata and for images.
 * An answer to a Range request must be exactly that range, of the same file as
   before, as far as ETag and If-Range tell: the signed hash decides in the end.

What other answers mean is in `answers`, files in `stick`.  Errors are
UnreachableError: the other side, or the stick, may come back.
"""

from agent.wire.url import split_url

MAX_ETAG_CHARACTERS = 128
REDIRECTS = (301, 302, 303, 307, 308)


def open_bundle(agent, offer):
    """The file that an offer is about, from its first byte."""
    if offer.get("file"):
        return _file(offer["file"], 0, None)
    return _get(agent, offer["url"], 0, 0, True)


def open_image(agent, release, offset, memory):
    """The rest of the image from `offset`, or a whole file: (response, bytes in front of what was asked for).

    `memory`: of the download; keeps which file it was, by its ETag.
    """
    source = release.get("source")
    if source is None:
        url = agent.config["https"] + "/repo/targets/" + release["address"]
        return _get(agent, url, offset, release["length"], False, memory), 0
    at = source["prefix"] + offset if offset else 0
    if "file" in source:
        response = _file(source["file"], at, source["length"])
    else:
        response = _get(agent, source["url"], at, source["length"], True, memory)
    return response, 0 if response.status == 206 else source["prefix"]


def _file(path, offset, length):
    from agent.tasks import stick

    return stick.File(path, offset, length)


def _get(agent, url, offset, length, named, memory=None):
    """`named`: by an offer."""
    response = _open(agent, url, offset, named, memory)
    if response.status != 200:
        from agent.tasks import answers

        if response.status == 206 and offset:
            problem = answers.wrong_part(response, url, offset, length, memory)
        else:
            problem = answers.unusable(response, "the image", offset)
        if problem:
            response.close()
            raise problem
    if memory:
        etag = response.headers.get("etag", "")
        strong = etag[:1] == '"' and len(etag) <= MAX_ETAG_CHARACTERS  # RFC 9110, 13.1.5: If-Range takes no weak one
        memory["file"] = (url, etag) if strong else None
    return response


def _open(agent, url, offset, named, memory):
    own = split_url(agent.config["https"])[:2]
    headers = {}
    if offset:
        headers["Range"] = "bytes=%d-" % offset
        if memory and memory["file"] and memory["file"][0] == url:
            headers["If-Range"] = memory["file"][1]
    met, trusted = [url], True
    while True:
        trusted = trusted and split_url(url)[:2] == own
        response = agent.platform.http.open("GET", url, headers, b"", agent.credentials() if trusted else None)
        if not named or response.status not in REDIRECTS:
            return response
        from agent.tasks import redirect

        location = response.headers.get("location", "")
        response.close()
        url = redirect.follow(met, location)
