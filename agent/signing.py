# SPDX-License-Identifier: MIT
"""The signed report of what is most urgent to be told.  Part of the shell; loaded for that, and forgotten before it is sent:
a signature is what an idle device has least room for.
"""


def due(agent, trial):
    """(claims or None when there are none to make, the signed report or "") for what `talk.say` says next."""
    if trial:
        claims = agent.module("claims").trial(agent)
    elif agent.reports():
        claims = agent.reports()[0]
    else:
        claims = agent.running_claims()
    return claims, _sign(agent, claims) if claims else ""


def _sign(agent, claims):
    if agent.foreign:
        return ""  # a key that somebody else made signs no report
    agent.forget()
    from agent import token

    keys, label = agent.platform.keys, claims.get("label")
    if not label or not keys.has(label):
        label = agent.label()
    claims = {name: claims[name] for name in claims if name not in ("step", "label")}
    claims["aud"] = agent.config["product_key"]
    claims["sub"] = "%s/%s" % (agent.config["product_key"], agent.config["device_key"])
    return token.report(claims, keys.public(label), lambda message: keys.sign(label, message))
