#!/bin/sh
# Starts Redis with a user for each service, who may do what that service does and no more. Passwords are kept out
# of the arguments and out of every file: the configuration comes by standard input. Needs Redis 7 or later.
#
# Everybody may put a message into every queue: a web request makes a job of billing, a job of billing one of
# notifications. Only the worker of a queue may take from it. A message carries no arguments; what a worker runs
# is what its row in PostgreSQL says.
set -eu
umask 077

# Every queue there is. A new one has its worker below, and its password in docker-compose.yml and .env.example.
queues="default notifications billing backups"

fail() {
    echo "$1" >&2
    exit 1
}

# The password in a variable: it is part of a URL, and of a line of the configuration.
password() {
    eval "value=\${$1:-}"
    case "$value" in
        "") fail "set $1" ;;
        *[!A-Za-z0-9_-]*) fail "$1 may hold letters, digits, - and _ only: it is part of a URL" ;;
    esac
}

# `%W~billing %W~billing??[369]`: the lists of all queues, the less urgent ones in lists of their own.
lists() {
    for queue in $queues; do
        printf ' %s~%s %s~%s??[369]' "$1" "$queue" "$1" "$queue"
    done
}

# What every client needs: its connection, transactions, and the tables in which Celery notes which queue hears
# which exchange. Nothing of this reads a message of a job.
common="-@all +client -@dangerous +ping +echo +multi +exec +discard +watch +unwatch +time +script|load
    +script|exists +evalsha"
common="$common (~_kombu.binding.* ~_kombu.binding_permanent.* ~_kombu.binding_deadlines +sadd +srem +smembers
    +exists +del +zadd +zrem +zrangebyscore +evalsha)"
# Asking workers whether they are there, and telling them to stop a job; the answers come in lists of their own.
control="(&/0.celery.pidbox +publish) (~*.reply.celery.pidbox ~*.reply.celery.pidbox??[369] +lpush +brpop +rpop
    +llen +del +pexpire)"
tells_events="(&/0.celeryev/* +publish)"

# Hearing a channel, in a queue of its own that Celery declares first.
hears() {
    echo "(~*.celery.pidbox ~*.celery.pidbox??[369] ~celeryev.* +llen +del +pexpire)"
    echo "(&$1 +psubscribe +punsubscribe)"
}

hears_control=$(hears /0.celery.pidbox)
hears_workers=$(hears '/0.celeryev/worker.*')
hears_events=$(hears '/0.celeryev/*')
# Whoever is not a worker of ours looks, while it waits for an answer, whether a message was left unconfirmed. None is.
looks_back="(~unacked_mutex +set +get +del +evalsha) (~unacked_index +zrange)"
publishes="($(lists %W) +lpush)"
looks="($(lists %R) +llen +lrange) +info"

user() {
    name=$1 variable=$2
    shift 2
    password "$variable"
    echo "user $name reset on >$value $common $*" | tr -s '\n ' ' '
    echo
}

worker() {
    user "$2" "$3" "(~$1 ~$1??[369] +brpop +rpop +lpush +rpush +llen)" \
        "$publishes $control $hears_control $hears_workers $tells_events"
}

users() {
    echo "user default reset off"
    # For people, in the container of Redis; no service has this password.
    password REDIS_PASSWORD
    echo "user operator reset on >$value ~* &* +@all"
    user web REDIS_WEB_PASSWORD "$publishes $looks $looks_back $control"
    user beat REDIS_BEAT_PASSWORD "$publishes $looks $looks_back $control $hears_control $tells_events"
    user flower REDIS_FLOWER_PASSWORD "($(lists %R) +llen) $looks_back $control $hears_events"
    worker default default-queue REDIS_DEFAULT_QUEUE_PASSWORD
    worker notifications notifications REDIS_NOTIFICATIONS_PASSWORD
    worker billing billing REDIS_BILLING_PASSWORD
    worker backups backups REDIS_BACKUPS_PASSWORD
}

all=$(users)
exec redis-server - <<CONFIGURATION
include ${REDIS_CONF:-/etc/jadwal/redis.conf}
$all
CONFIGURATION
