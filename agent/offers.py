# SPDX-License-Identifier: MIT
"""An offer came: is it worth a look?  Part of the shell; loaded for that moment."""


def offered(agent, offer):
    """It is considered unless it is the one at hand, or its outcome already waits to be told."""
    state = agent.update_state
    job = offer["job"] or offer["digest"]
    known = [state["release"].get("job"), state["release"]["sha256"]] if state["release"] else []
    known += [claims["job"] for claims in agent.reports()]
    if state["phase"] != "trial" and job not in known and job != agent.considering:
        agent.consider(offer, job)


def answered(agent, offers, how):
    """What the cloud offers, as it was asked: for what is being downloaded (True), or for news."""
    if how is True:
        for offer in offers:
            again(agent, offer)
    elif how:
        agent.module("auto").answered(agent, offers, how)


def again(agent, offer):
    """The answer to `uplink.asking`: it is considered if it is for what is being downloaded."""
    state = agent.update_state
    release = state["release"]
    if state["phase"] == "fetching" and agent.considering is None:
        if (offer["job"], offer["version"]) == (release.get("job"), release["version"]):
            agent.consider(dict(offer, fresh=True), offer["job"] or offer["digest"])
