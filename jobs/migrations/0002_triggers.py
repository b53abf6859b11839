"""Triggers that keep policies true to the rows people edit, whoever edits them and however.

Their WHEN clauses compare OLD with NEW, because Django writes every column on every save: a save that
changes nothing marks nothing. `last_run_at` and `total_run_count`, which the engine itself writes, are not
among the compared columns.
"""

from django.db import migrations

TASK = "django_celery_beat_periodictask"
TASK_COLUMNS = (
    "name task interval_id crontab_id solar_id clocked_id args kwargs queue exchange routing_key headers "
    "priority expires expire_seconds one_off start_time enabled"
).split()
POLICY_COLUMNS = (
    "overlap catch_up catchup_window max_catchup jitter day_match month_end dst_gap dst_fold "
    "cron_day_of_month cron_day_of_week calendar_every calendar_unit max_runs deadline on_complete max_attempts backoff_base "
    "backoff_factor backoff_cap timeout calendar_id roll group concurrency_key after_id after_mode after_on "
    "after_within"
).split()
TIMINGS = {
    "crontab": "minute hour day_of_week day_of_month month_of_year timezone".split(),
    "interval": "every period".split(),
    "clocked": ["clocked_time"],
    "solar": "event latitude longitude".split(),
}


def differs(columns: list[str]) -> str:
    old, new = (", ".join(f'{side}."{name}"' for name in columns) for side in ("OLD", "NEW"))
    return f"ROW({old}) IS DISTINCT FROM ROW({new})"


NOTIFY = "PERFORM pg_notify('jadwal_schedules', '');"

FUNCTIONS = f"""
CREATE FUNCTION jobs_task_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO jobs_schedule (periodic_task_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    {NOTIFY}
    RETURN NULL;
END $$;

CREATE FUNCTION jobs_task_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs_schedule SET stale = true, edited_at = clock_timestamp() WHERE periodic_task_id = NEW.id;
    {NOTIFY}
    RETURN NULL;
END $$;

CREATE FUNCTION jobs_task_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- What only ran after this one must not begin to fire at times of its own.
    UPDATE {TASK} SET enabled = false WHERE id IN (
        SELECT periodic_task_id FROM jobs_schedule WHERE after_id = OLD.id AND after_mode = 'trigger');
    UPDATE jobs_schedule SET pause_note = 'The schedule it ran after, ' || OLD.name || ', was deleted.',
           paused_by = 'system' WHERE after_id = OLD.id AND after_mode = 'trigger';
    UPDATE jobs_schedule SET after_id = NULL WHERE after_id = OLD.id;
    DELETE FROM jobs_blackout WHERE schedule_id = OLD.id;
    DELETE FROM jobs_limit WHERE name = 'schedule:' || OLD.id;
    DELETE FROM jobs_schedule WHERE periodic_task_id = OLD.id;
    RETURN OLD;
END $$;

CREATE FUNCTION jobs_policy_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.stale := true;
    NEW.edited_at := clock_timestamp();
    {NOTIFY}
    RETURN NEW;
END $$;
"""

TRIGGERS = f"""
CREATE TRIGGER jobs_task_inserted AFTER INSERT ON {TASK}
    FOR EACH ROW EXECUTE FUNCTION jobs_task_inserted();
CREATE TRIGGER jobs_task_updated AFTER UPDATE ON {TASK}
    FOR EACH ROW WHEN ({differs(TASK_COLUMNS)}) EXECUTE FUNCTION jobs_task_updated();
CREATE TRIGGER jobs_task_deleted BEFORE DELETE ON {TASK}
    FOR EACH ROW EXECUTE FUNCTION jobs_task_deleted();
CREATE TRIGGER jobs_policy_updated BEFORE UPDATE ON jobs_schedule
    FOR EACH ROW WHEN ({differs(POLICY_COLUMNS)}) EXECUTE FUNCTION jobs_policy_updated();
"""


def timing_sql(kind: str, columns: list[str]) -> str:
    return f"""
CREATE FUNCTION jobs_{kind}_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs_schedule SET stale = true, edited_at = clock_timestamp()
    WHERE periodic_task_id IN (SELECT id FROM {TASK} WHERE {kind}_id = NEW.id);
    {NOTIFY}
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_{kind}_updated AFTER UPDATE ON django_celery_beat_{kind}schedule
    FOR EACH ROW WHEN ({differs(columns)}) EXECUTE FUNCTION jobs_{kind}_updated();
"""


CALENDAR_COLUMNS = "name tz exclude_dates include_dates exclude_windows include_windows".split()

# A blackout may apply to one schedule, a group, a queue or all; those it applied to before an edit, and
# those it applies to after it, are both compiled again.
CALENDARS = f"""
CREATE FUNCTION jobs_calendar_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs_schedule SET stale = true, edited_at = clock_timestamp() WHERE calendar_id = NEW.id;
    {NOTIFY}
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_calendar_updated AFTER UPDATE ON jobs_calendar
    FOR EACH ROW WHEN ({differs(CALENDAR_COLUMNS)}) EXECUTE FUNCTION jobs_calendar_updated();

CREATE FUNCTION jobs_mark_blacked_out(blackout jobs_blackout) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs_schedule SET stale = true, edited_at = clock_timestamp()
    WHERE (blackout.schedule_id IS NULL OR periodic_task_id = blackout.schedule_id)
      AND (blackout."group" = '' OR "group" = blackout."group")
      AND (blackout.queue = '' OR template IS NULL OR template ->> 'queue' = blackout.queue);
    {NOTIFY}
END $$;
CREATE FUNCTION jobs_blackout_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN PERFORM jobs_mark_blacked_out(OLD); END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM jobs_mark_blacked_out(NEW); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_blackout_changed AFTER INSERT OR UPDATE OR DELETE ON jobs_blackout
    FOR EACH ROW EXECUTE FUNCTION jobs_blackout_changed();
"""

# Schedules that exist when Jadwal is installed: intervals go on in the rhythm they have.
EXISTING = f"""
INSERT INTO jobs_schedule (periodic_task_id, anchor)
SELECT id, COALESCE(last_run_at, date_changed, clock_timestamp()) FROM {TASK}
ON CONFLICT DO NOTHING;
"""

# Rows of jobs are updated several times in a short life: room on the page keeps those updates in place,
# and dead rows must not pile up under the partial indexes.
STORAGE = """
-- Django's second index of a text key, for LIKE: by the collation C the primary key can do that.
DROP INDEX IF EXISTS jobs_job_id_e5bc7a75_like;
ALTER TABLE jobs_job SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE jobs_schedule SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE jobs_worker SET (fillfactor = 50);
"""

UNDO = "\n".join(
    [
        f"DROP TRIGGER IF EXISTS jobs_task_inserted ON {TASK};",
        f"DROP TRIGGER IF EXISTS jobs_task_updated ON {TASK};",
        f"DROP TRIGGER IF EXISTS jobs_task_deleted ON {TASK};",
        "DROP TRIGGER IF EXISTS jobs_policy_updated ON jobs_schedule;",
        *(
            f"DROP TRIGGER IF EXISTS jobs_{kind}_updated ON django_celery_beat_{kind}schedule;"
            f"DROP FUNCTION IF EXISTS jobs_{kind}_updated();"
            for kind in TIMINGS
        ),
        "DROP TRIGGER IF EXISTS jobs_calendar_updated ON jobs_calendar;",
        "DROP TRIGGER IF EXISTS jobs_blackout_changed ON jobs_blackout;",
        "DROP FUNCTION IF EXISTS jobs_calendar_updated();",
        "DROP FUNCTION IF EXISTS jobs_blackout_changed();",
        "DROP FUNCTION IF EXISTS jobs_mark_blacked_out(jobs_blackout);",
        "DROP FUNCTION IF EXISTS jobs_task_inserted();",
        "DROP FUNCTION IF EXISTS jobs_task_updated();",
        "DROP FUNCTION IF EXISTS jobs_task_deleted();",
        "DROP FUNCTION IF EXISTS jobs_policy_updated();",
    ]
)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial"), ("django_celery_beat", "0019_alter_periodictasks_options")]

    operations = [
        migrations.RunSQL(
            FUNCTIONS
            + TRIGGERS
            + "".join(timing_sql(kind, columns) for kind, columns in TIMINGS.items())
            + CALENDARS
            + STORAGE
            + EXISTING,  # the last: no table can be altered while checks of its new rows are pending
            reverse_sql=UNDO,
        )
    ]
