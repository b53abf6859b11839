"""The audit log is append-only: entries are added, and neither changed nor removed.

Triggers, because a rule of the application would not bind a person with a database shell, `auditlogflush`, or
code that has gone wrong. They bind everybody but who may alter the table itself: its owner.
"""

from django.db import migrations

LOG = "auditlog_logentry"

# A whole table is emptied only by `manage.py flush` and by the tests, which flush their own database between
# tests: it is known by the name that Django gives it.
CREATE = f"""
CREATE FUNCTION jobs_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND current_database() LIKE 'test\\_%' THEN RETURN NULL; END IF;
    RAISE EXCEPTION 'The audit log is append-only: % of its entries is refused.', lower(TG_OP)
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER jobs_audit_rows BEFORE UPDATE OR DELETE ON {LOG}
    FOR EACH ROW EXECUTE FUNCTION jobs_audit_append_only();
CREATE TRIGGER jobs_audit_table BEFORE TRUNCATE ON {LOG}
    FOR EACH STATEMENT EXECUTE FUNCTION jobs_audit_append_only();
"""

UNDO = f"""
DROP TRIGGER IF EXISTS jobs_audit_rows ON {LOG};
DROP TRIGGER IF EXISTS jobs_audit_table ON {LOG};
DROP FUNCTION IF EXISTS jobs_audit_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_triggers"), ("auditlog", "0017_add_actor_email")]

    operations = [migrations.RunSQL(CREATE, reverse_sql=UNDO)]
