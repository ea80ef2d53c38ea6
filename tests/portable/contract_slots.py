# SPDX-License-Identifier: MIT
"""What every `slots` port must keep.  Runs on both interpreters, over any world that has

boot()      play the boot loader, return the port of a new boot; nothing but the durable half survives
limit(n)    from now on a slot takes n bytes
illegal     the exceptions that a wrong call may raise

and, where images are no app images (such a world runs ANY_IMAGE_CHECKS):
image       a whole image
head        its first bytes, which count only once they are whole (an app image's index)
cuts        lengths at which a download is cut, too
about       what a release's note must say beside version and kind
trial_boots how often an image boots on trial
"""

from agent.errors import AgentError, DeviceError, MisuseError, RefusedError
from agent.wire import appimage

NOTE = {"version": "2.0.0", "kind": "app"}
IMAGE = appimage.build(
    {"lib/empty.py": b"", "lib/m/data": bytes(range(256)) * 3, "main.py": b"import lib\n" * 20, "z": b"last"}
)
INDEX_BYTES = IMAGE.find(b"\n\n") + 2
TRIAL_BOOTS = 3


def image_of(world):
    return getattr(world, "image", IMAGE)


def note_of(world, version="2.0.0"):
    return dict(getattr(world, "about", {"kind": "app"}), version=version)


def head_of(world):
    return getattr(world, "head", INDEX_BYTES)


def raises(kinds, call, *arguments):
    """The error; AssertionError when there is none of `kinds`."""
    try:
        call(*arguments)
    except kinds as error:
        return error
    raise AssertionError("no error")


def refused(code, kind, call, *arguments):
    error = raises(AgentError, call, *arguments)
    assert isinstance(error, kind) and error.code == code, repr(error)


def fill(slots, image=IMAGE, step=97, note=NOTE):
    slots.begin(note)
    for at in range(0, len(image), step):
        slots.write(at, image[at : at + step])
    slots.sync()


def contents(slots, slot, step=101):
    data = b""
    while True:
        piece = slots.read(slot, len(data), step)
        assert len(piece) <= step
        if not piece:
            return data
        data += piece


def update(world):
    """A world that runs a new image on trial."""
    slots = world.boot()
    fill(slots, image_of(world), note=note_of(world))
    slots.activate()
    return world.boot()


def check_a_new_device(world):
    slots = world.boot()
    assert slots.kind == note_of(world)["kind"]
    assert (slots.running(), slots.spare()) == ("a", "b")
    assert slots.state() == {"confirmed": True, "failure": ""}
    assert slots.release("b") is None
    assert slots.filled() == 0
    assert slots.capacity() > 0
    slots.confirm()
    slots.rollback()
    assert world.boot().running() == "a"


def check_an_image_reads_back_as_written(world):
    image, note = image_of(world), note_of(world)
    middle = max(head_of(world), 3)
    for step in (1, 97, 4096):
        slots = world.boot()
        fill(slots, image, step, note)
        assert slots.filled() == len(image)
        assert contents(slots, "b") == image
        assert slots.release("b") == note
        slots = world.boot()
        assert slots.filled() == len(image)
        assert contents(slots, "b", 1) == contents(slots, "b", 5000) == image
        assert slots.read("b", middle - 3, 6) in (image[middle - 3 : middle + n] for n in range(4))
        assert slots.read("b", len(image) + 10, 5) == b""


def check_the_running_image_reads_here_and_there_while_the_spare_is_filled(world):
    """As a patch does."""
    slots = update(world)
    slots.confirm()
    slots = world.boot()
    image = image_of(world)
    running = slots.running()
    slots.begin(note_of(world))
    for at in range(0, len(image), 211):
        slots.write(at, image[at : at + 211])
        for place in (at, len(image) - 1 - at, at * 7 % len(image), 0):
            piece = slots.read(running, place, 50)
            assert piece and image[place : place + len(piece)] == piece, place
        assert slots.read(running, len(image), 5) == b""
    slots.sync()
    assert contents(slots, slots.spare()) == contents(slots, running) == image


def check_the_part_that_is_written_reads_back(world):
    slots = world.boot()
    slots.begin(note_of(world))
    cut = head_of(world) + 300
    slots.write(0, image_of(world)[:cut])
    slots.sync()
    assert contents(slots, "b") == image_of(world)[:cut]


def check_a_trial_that_is_confirmed_stays(world):
    slots = update(world)
    assert (slots.running(), slots.spare()) == ("b", "a")
    assert not slots.state()["confirmed"]
    slots.confirm()
    slots.confirm()
    assert slots.state() == {"confirmed": True, "failure": ""}
    for _ in range(5):
        slots = world.boot()
        assert slots.running() == "b" and slots.state()["confirmed"]
    slots.rollback()
    assert world.boot().running() == "b"


def check_a_trial_that_is_not_confirmed_falls_back(world):
    slots = update(world)
    boots = 1
    while slots.running() == "b":
        slots = world.boot()
        boots += 1
        assert boots < 10
    assert boots == getattr(world, "trial_boots", TRIAL_BOOTS) + 1
    assert slots.state()["confirmed"]
    assert world.boot().running() == "a"


def check_activation_waits_for_the_reset(world):
    slots = world.boot()
    fill(slots, image_of(world), note=note_of(world))
    slots.activate()
    assert slots.running() == "a" and slots.state()["confirmed"]


def check_confirm_is_for_what_runs(world):
    slots = world.boot()
    fill(slots, image_of(world), note=note_of(world))
    slots.activate()
    slots.confirm()
    slots = world.boot()
    assert slots.running() == "b" and not slots.state()["confirmed"]


def check_rollback(world):
    slots = update(world)
    slots.rollback()
    slots.rollback()
    assert slots.running() == "b" and not slots.state()["confirmed"]
    refused("rolled_back", MisuseError, slots.confirm)
    refused("on_trial", MisuseError, slots.begin, note_of(world))
    slots = world.boot()
    assert slots.running() == "a" and slots.state()["confirmed"]
    assert world.boot().running() == "a"


def check_on_trial_the_way_back_is_not_touched(world):
    slots = update(world)
    refused("on_trial", MisuseError, slots.begin, note_of(world))
    refused("on_trial", MisuseError, slots.activate)
    raises(world.illegal, slots.write, 0, b"x")
    slots.confirm()
    fill(slots, image_of(world), note=note_of(world, "3.0.0"))
    assert slots.release("a") == note_of(world, "3.0.0")
    slots.activate()
    assert world.boot().running() == "a"


def check_only_what_is_synced_survives(world):
    image, head = image_of(world), head_of(world)
    cuts = (0, 1, head - 1, head, head + 1, head + 768, len(image) - 1, len(image))
    for cut in [cut for cut in cuts if cut >= 0] + list(getattr(world, "cuts", ())):
        slots = world.boot()
        slots.begin(note_of(world))
        if cut:
            slots.write(0, image[:cut])
        slots.sync()
        if cut < len(image):
            slots.write(cut, image[cut : cut + 100])
        slots = world.boot()
        filled = slots.filled()
        assert filled <= cut, (filled, cut)
        assert filled == cut or cut <= head, (filled, cut)
        assert contents(slots, "b")[:filled] == image[:filled]
        for at in range(filled, len(image), 50):
            slots.write(at, image[at : at + 50])
        slots.sync()
        assert contents(slots, "b") == image
        slots.activate()
        slots.begin(note_of(world))


def check_begin_empties_the_spare_slot_alone(world):
    slots = world.boot()
    fill(slots, image_of(world), note=note_of(world))
    slots.begin(note_of(world, "3"))
    assert slots.filled() == 0 and slots.release("b") == note_of(world, "3") and contents(slots, "b") == b""
    slots = world.boot()
    assert slots.filled() == 0 and slots.release("b") == note_of(world, "3")
    assert slots.running() == "a"


def check_begin_takes_an_activation_back(world):
    slots = world.boot()
    fill(slots, image_of(world), note=note_of(world))
    slots.activate()
    slots.begin(note_of(world))
    slots = world.boot()
    assert slots.running() == "a" and slots.state()["confirmed"]


def check_a_wrong_order_of_calls(world):
    image = image_of(world)
    raises(world.illegal, world.boot().write, 0, b"x")
    slots = world.boot()
    slots.begin(note_of(world))
    raises(world.illegal, slots.write, 1, image[1:5])
    slots = world.boot()
    slots.write(0, image[:10])
    raises(world.illegal, slots.write, 5, image[5:15])
    slots = world.boot()
    raises(world.illegal, slots.activate)
    slots.begin(note_of(world))
    slots.write(0, image[:-1])
    slots.sync()
    raises(world.illegal, slots.activate)
    assert world.boot().running() == "a"


def check_a_release_that_does_not_fit(world):
    slots = world.boot()
    world.limit(100_000)
    refused("slot_full", DeviceError, slots.begin, dict(note_of(world), size=100_001))
    slots.begin(dict(note_of(world), size=100_000))


def check_an_image_that_breaks_its_format_is_refused(world):
    def write(image, step=64):
        for at in range(0, len(image), step):
            slots.write(at, image[at : at + step])

    for image, code in (
        (b"x" + IMAGE, "image_index"),
        (IMAGE.replace(b" main.py", b" ../m.py"), "image_index"),
        (IMAGE + b"x", "image_size"),
    ):
        slots = world.boot()
        slots.begin(NOTE)
        refused(code, RefusedError, write, image)
        refused(code, RefusedError, write_whole, slots, image)
    fill(slots)
    slots.activate()
    assert world.boot().running() == "b"


def write_whole(slots, image):
    slots.begin(NOTE)
    slots.write(0, image)


def check_an_image_that_does_not_fit(world):
    slots = world.boot()
    world.limit(100_000)
    head = b"trueboot-app 1\n%s 150000 big\n\n" % (b"0" * 64)
    slots.begin({"version": "1", "size": 100_000})
    refused("slot_full", DeviceError, slots.write, 0, head)
    assert slots.filled() == 0


ANY_IMAGE_CHECKS = [
    check_a_new_device,
    check_an_image_reads_back_as_written,
    check_the_running_image_reads_here_and_there_while_the_spare_is_filled,
    check_the_part_that_is_written_reads_back,
    check_a_trial_that_is_confirmed_stays,
    check_a_trial_that_is_not_confirmed_falls_back,
    check_activation_waits_for_the_reset,
    check_confirm_is_for_what_runs,
    check_rollback,
    check_on_trial_the_way_back_is_not_touched,
    check_only_what_is_synced_survives,
    check_begin_empties_the_spare_slot_alone,
    check_begin_takes_an_activation_back,
    check_a_wrong_order_of_calls,
    check_a_release_that_does_not_fit,
]
CHECKS = ANY_IMAGE_CHECKS + [
    check_an_image_that_breaks_its_format_is_refused,
    check_an_image_that_does_not_fit,
]
