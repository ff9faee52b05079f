"""counts without counting, submissions that go on, images that are used again

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None

STATES = ('pending', 'leased', 'done', 'failed', 'cancelled', 'held')
FIGURES = (*STATES, 'nanodollars')


def upgrade() -> None:
    op.create_table(
        'tally',
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('batch_id', sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in FIGURES),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_tally')),
    )
    op.create_index('ix_tally_batch', 'tally', ['batch_id'])
    op.create_table(
        'batch_count',
        sa.Column('batch_id', sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in FIGURES),
        sa.ForeignKeyConstraint(
            ['batch_id'], ['batch.id'], name=op.f('fk_batch_count_batch_id_batch'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('batch_id', name=op.f('pk_batch_count')),
    )
    _count_what_is_there()

    op.add_column('batch', sa.Column('key', sa.String(length=256), nullable=True))
    op.add_column('batch', sa.Column('submitted_at', sa.DateTime(timezone=True), nullable=True))
    op.execute('UPDATE batch SET submitted_at = created_at')
    _index('ix_batch_key', 'batch', ['tenant', 'key'], 'key IS NOT NULL', unique=True)

    op.add_column('worker', sa.Column('weights_sha256', sa.String(length=64), nullable=True))
    op.add_column('job', sa.Column('fingerprint', sa.String(length=64), nullable=True))
    op.add_column('job', sa.Column('reused_from', sa.Uuid(), nullable=True))
    op.drop_index('ix_job_batch_state', table_name='job')
    op.drop_index('ix_job_finished', table_name='job')
    _index('ix_job_done', 'job', ['batch_id', 'finished_at', 'position'], "state = 'done'")
    _index('ix_job_failed', 'job', ['batch_id', 'error_code', 'position'], "state = 'failed'")
    _index('ix_job_held', 'job', ['batch_id', 'position'], "state = 'held'")
    _index('ix_job_custom_id', 'job', ['batch_id', 'custom_id'], 'custom_id IS NOT NULL')
    _index('ix_job_fingerprint', 'job', ['fingerprint'], 'fingerprint IS NOT NULL')


def downgrade() -> None:
    for name in (
        'ix_job_fingerprint',
        'ix_job_custom_id',
        'ix_job_held',
        'ix_job_failed',
        'ix_job_done',
    ):
        op.drop_index(name, table_name='job')
    op.create_index('ix_job_finished', 'job', ['batch_id', 'finished_at'])
    op.create_index('ix_job_batch_state', 'job', ['batch_id', 'state'])
    op.drop_column('job', 'reused_from')
    op.drop_column('job', 'fingerprint')
    op.drop_column('worker', 'weights_sha256')
    op.drop_index('ix_batch_key', table_name='batch')
    op.drop_column('batch', 'submitted_at')
    op.drop_column('batch', 'key')
    op.drop_table('batch_count')
    op.drop_index('ix_tally_batch', table_name='tally')
    op.drop_table('tally')


def _count_what_is_there() -> None:
    counts = ', '.join(f"sum(CASE WHEN state = '{state}' THEN 1 ELSE 0 END)" for state in STATES)
    op.execute(
        f'INSERT INTO batch_count (batch_id, {", ".join(FIGURES)}) '
        f'SELECT batch_id, {counts}, '
        '(SELECT coalesce(sum(amount_nanodollars), 0) FROM ledger WHERE ledger.batch_id = job.batch_id) '
        'FROM job GROUP BY batch_id'
    )


def _index(name: str, table: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)
