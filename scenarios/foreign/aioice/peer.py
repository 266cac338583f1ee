#!/usr/bin/python3
"""An ICE agent made of aioice (Debian: python3-aioice), for a peer's place in a
laboratory. It speaks what pion-ice and p2pmodel ice do: mailboxes over HTTP, and
events on standard output as docs/programs.md has them.

    peer.py --signal http://198.18.0.4:8080 [--role controlling|controlled]

Everything else is in the environment of a host of a lab. aioice gathers all of its
candidates before it tells of any; it knows no restart.
"""

import argparse
import asyncio
import json
import os
import urllib.request

import aioice

INTERVAL = 0.02  # seconds between two datagrams
SIZE = 64  # bytes of a datagram


def event(kind, **fields):
    print(json.dumps({"event": kind, **fields}, separators=(",", ":")), flush=True)


def server(variable):
    """Address and port of a server, or None."""
    text = os.environ.get(variable, "")
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host else None


class Mailbox:
    """Messages to the other side, and those of it."""

    def __init__(self, url, own, other):
        self.url, self.own, self.other = url, own, other
        self.seen = 0

    async def tell(self, **message):
        def post():
            request = urllib.request.Request(f"{self.url}/{self.other}", json.dumps(message).encode(), method="POST")
            urllib.request.urlopen(request).read()

        await asyncio.get_running_loop().run_in_executor(None, post)

    async def read(self):
        def get():
            with urllib.request.urlopen(f"{self.url}/{self.own}?after={self.seen}") as answer:
                return json.load(answer)

        mail = await asyncio.get_running_loop().run_in_executor(None, get)
        self.seen += len(mail)
        return mail


async def hear(box, connection, credentials):
    """Takes what the other side says, and goes on as long as it says something."""
    complete = False
    while True:
        for m in await box.read():
            if "ufrag" in m:
                connection.remote_username, connection.remote_password = m["ufrag"], m["password"]
                connection.remote_is_lite = m.get("lite", False)
                event("introduced", peer=box.other)
                credentials.set()
            elif "candidate" in m and not complete:
                text = m["candidate"].removeprefix("candidate:")
                await connection.add_remote_candidate(aioice.Candidate.from_sdp(text))
            elif m.get("complete") and not complete:
                complete = True
                await connection.add_remote_candidate(None)


async def talk(connection):
    """Sends datagrams, and reads what comes: the witness counts it."""

    async def drain():
        while True:
            await connection.recv()

    reader = asyncio.ensure_future(drain())
    try:
        while not reader.done():
            # Never like STUN, whose first two bits are zero.
            await connection.send(bytes([0x80]) + os.urandom(SIZE - 1))
            await asyncio.sleep(INTERVAL)
    except ConnectionError:
        pass
    reader.cancel()
    event("state", text="failed")  # consent has expired


async def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--signal", required=True)
    flags.add_argument("--role", choices=["controlling", "controlled"])
    args = flags.parse_args()
    controlling = args.role == "controlling" if args.role else os.environ.get("LAB_DIALS") == "1"
    box = Mailbox(args.signal, os.environ["LAB_NAME"], os.environ["LAB_PEER"])
    connection = aioice.Connection(
        ice_controlling=controlling,
        use_ipv6=False,
        stun_server=server("LAB_RENDEZVOUS"),
        turn_server=server("LAB_RELAY"),
        turn_username=os.environ.get("LAB_RELAY_USER"),
        turn_password=os.environ.get("LAB_RELAY_PASSWORD"),
    )
    event("ready")
    await connection.gather_candidates()
    await box.tell(ufrag=connection.local_username, password=connection.local_password)
    for candidate in connection.local_candidates:
        await box.tell(candidate="candidate:" + candidate.to_sdp())
    await box.tell(complete=True)
    event("registered", text="signalling at " + args.signal)
    credentials = asyncio.Event()
    hearing = asyncio.ensure_future(hear(box, connection, credentials))
    await credentials.wait()
    try:
        await connection.connect()
    except ConnectionError as error:
        event("settled", peer=box.other, path="none", text=str(error))
        return
    pair = connection._nominated[1]  # there is no other way to ask
    kinds = f"{pair.local_candidate.type}/{pair.remote_candidate.type}"
    event("settled", peer=box.other, path=kinds, text=repr(pair))
    await talk(connection)
    hearing.cancel()


asyncio.run(main())
