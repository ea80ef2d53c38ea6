# SPDX-License-Identifier: MIT
"""The reference server: one asyncio process, one SQLite file, its own CA, no other service.

How it is laid out, from the outside in:

    main        start and stop of the process: options, exit codes, the first line
    app         wires the parts together
    https/      EST, the release repository, the operator's REST interface
    mqtt/       an MQTT 3.1.1 endpoint: codec, topics, sessions; it knows nothing of clouds
    decada/     the DECADA dialect and what follows from it: admission, jobs, reports, commands
    repo/       the TUF repository
    store/      the database behind one transaction function
    ca, state, proofs, log, limits, errors

Import from `trueboot_server.main`; nothing happens on import.
"""
