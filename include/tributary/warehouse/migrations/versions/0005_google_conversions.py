"""What Google's conversion APIs need: batches of one key, polled requests, quotas of a project."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_UP = """
-- Only deliveries of one key are sent in one request.
alter table ops.conversion_deliveries add column batch_key text not null default '';
-- Of a request whose result the platform reports later: what it last said, and when to ask again.
alter table ops.upload_batches add column state text;
alter table ops.upload_batches add column poll_at timestamptz;
alter table ops.upload_batches add column polls integer not null default 0;
alter table ops.upload_batches add column answer jsonb;
create index upload_batches_polled on ops.upload_batches (destination, poll_at)
    where poll_at is not null;
-- Requests by second of a project whose quota several destinations share; deleted after a day.
create table ops.platform_calls (
    project text, at timestamptz, calls integer not null, primary key (project, at)
);
"""

_DOWN = """
drop table ops.platform_calls;
drop index ops.upload_batches_polled;
alter table ops.upload_batches drop column answer;
alter table ops.upload_batches drop column polls;
alter table ops.upload_batches drop column poll_at;
alter table ops.upload_batches drop column state;
alter table ops.conversion_deliveries drop column batch_key;
"""


def upgrade() -> None:
    _run(_UP)


def downgrade() -> None:
    _run(_DOWN)


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
