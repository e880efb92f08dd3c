"""The texts of the files that `edgesync init` writes. Their comments are an operator's first manual."""

from __future__ import annotations

FLEET = """\
# What this fleet is and how it is updated. `edgesync validate` checks it, `edgesync diff` shows what a commit changes
# on each board, and the server acts on every commit of its branch. Config lies beside it: files and templates in
# files/ of config/fleet, config/groups/<group>, config/boards/<board>; `edgesync config BOARD` shows what a board gets.
format: 1
fleet: {fleet}

{defaults}
# Groups give boards with certain labels a release of their own. A board's own `release` comes first, then its group's,
# then the default.
groups:
  canary:
    select: {{ring: canary}}
    # release: v2

# A rollout goes wave by wave, each board in the first wave that selects it. The next wave opens when `success` of the
# boards that were reached have booted the new firmware and proved it.
waves:
{waves}
# What to do when a delta does not work on a board: wait, fail, or full-if-under and a size.
failure:
  on_delta_failure: wait

# Stop everything when this part of the reached boards has failed or is lost.
abort_at: 10 %
# A board that was silent for so long after it switched to new firmware counts as lost.
lost_after: 1 h
# What one board may use of its link in a month, all overhead included. One that stays connected spends 9 MB on signs of
# life alone; 1 MB lasts for boards with `manners: {{check_in: 6 h}}`.
byte_budget: 100 MB
# How boards use their link; groups and boards may have manners of their own.
# manners:
#   check_in: 6 h          # connect this often instead of staying connected
#   rate_cap: 16 kbit/s    # for updates
#   share: 50 %            # of the link, for updates; the rest is the application's
#   defer: 24 h            # how long a board's inhibitors may put an update off
# When boards may be offered something new: at any time, unless windows say otherwise.
# windows:
#   - name: nights
#     select: {{ring: field}}
#     from: "22:00"
#     to: "04:00"
#     timezone: Europe/Berlin
# Where boards find firmware that the broker has not got: any web server over the server's state/blobs.
# http_source: https://firmware.example.com/blobs
"""

DEFAULTS = """\
# The release of every board that has none of its own.
defaults:
  release: {release}
"""

NO_DEFAULTS = """\
# The release of every board that has none of its own. See releases/v1.yaml.example.
# defaults:
#   release: v1
"""

WAVES = """\
  - name: canary
    select: {ring: canary}
    success: 100 %
  - name: everyone
    select: {}
    success: 95 %
"""

ONE_WAVE = """\
  - name: everyone
    select: {}
    success: 95 %
"""

BOARDS = """\
# The boards of one place. Any number of such files may lie in this directory.
# `key` is the public half of the key that signs the board's reports; the private half never leaves the board.
boards:
"""

BOARD = """\
  - id: {name}
    type: files
    labels: {{ring: {ring}, site: bench}}
    key: {key}
"""

RELEASE = """\
# A release: an image for each component of a board. The files lie in the images directory, not in git; the digest
# says which file is meant (sha256sum prints it).
name: {release}
images:
  {component}:
    path: {path}
    version: "1"
    sha256: {sha256}
    compatible: [files]
"""

GITIGNORE = """\
# Images are large and named by digest in releases/: keep them out of git.
images/
"""

SERVER = """\
# The server of one fleet: `edgesync serve --config server.toml`. Paths are relative to this file.
fleet = {fleet}
repository = "../fleet"
branch = "main"
images = "../images"
state = "state"
# Seconds between two looks at the repository. A hook tells the server of a commit at once; this is for when it cannot.
poll = 5
# database = "postgresql+psycopg://edgesync@db.example.com/edgesync"    # SQLite in the state directory without it
# profiles = "../profiles"    # board types of your own, one TOML file each

# [git]
# allowed_signers = "allowed_signers"    # only follow commits that one of these keys has signed (ssh-keygen)

# [status]
# command = ["/usr/local/bin/tell"]    # is told each change of a rollout's phase, a line of JSON on standard input
# notes = true                         # where a commit stands is a git note on it: git log --notes=edgesync

[broker]
host = {host}
port = {port}
ca = "ca.crt"
cert = "tls.crt"
key = "tls.key"
# Seconds.
keepalive = 60

[trust]
# Signs what each board shall run. Boards trust it through root.json.
key = "director.key"
"""

AGENT = """\
# One board: `edgesync agent --config agent.toml`. Paths are relative to this file.
device = {device}
type = "files"
state = "state"
# profiles = "profiles"    # board types of your own, one TOML file each

[broker]
host = {host}
port = {port}
ca = "ca.crt"
cert = "tls.crt"
key = "tls.key"

[trust]
# Says whose word this board takes; and the key that it signs its reports with.
root = "root.json"
key = "board.key"

[board]
root = "slots"

# What says "not now" to a reboot or a switch of the config: a file that is there, a command of the board's type that
# does not end with status 0.
# [inhibit]
# files = ["/run/app/busy"]
# commands = []
# fetch = false             # true: to a fetch as well

# Where the config from git lies, for applications to read at <root>/current, and a socket to ask for it.
# [config]
# root = "/data/config"     # without it: config in the state directory
# socket = "/run/edgesync/config.sock"

# Telemetry, about 300 bytes a minute: uncomment it on boards that shall tell of their health.
# [collector]
# config = "collector.yaml"
"""

BOARD_COLLECTOR = """\
# What this board tells of its health, over the agent's own connection. Paths are relative to where the agent runs.
receivers:
  hostmetrics:
    collection_interval: 60s
    temporality: delta
    scrapers: {memory: , paging: , cpu: , disk: , network: }
  agent:
    collection_interval: 60s
extensions:
  memory_health: {endpoint: ""}
exporters:
  mqtt:
    sending_queue: {directory: DIRECTORY, size_kib: 4096}
service:
  extensions: [memory_health]
  pipelines:
    metrics: {receivers: [hostmetrics, agent], exporters: [mqtt]}
    traces: {receivers: [agent], exporters: [mqtt]}
"""

COLLECTOR = """\
# Takes what boards tell from the broker into a lake of Parquet files: `edgesync-collector --config collector.yaml`.
receivers:
  mqtt:
    endpoint: ENDPOINT
    fleet: FLEET
    tls: {ca_file: PLACE/ca.crt, cert_file: PLACE/tls.crt, key_file: PLACE/tls.key}
exporters:
  parquet:
    directory: PLACE/lake
    retention: {max_age: 720h, max_size_mib: 10240}
extensions:
  health_check: {endpoint: "localhost:13133"}
service:
  extensions: [health_check]
  pipelines:
    metrics: {receivers: [mqtt], exporters: [parquet]}
    traces: {receivers: [mqtt], exporters: [parquet]}
    logs: {receivers: [mqtt], exporters: [parquet]}
"""
