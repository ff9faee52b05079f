"""who leads, a batch's deadline, indexes that the dispatcher looks through

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'leadership',
        sa.Column('name', sa.String(length=64), nullable=False),
        sa.Column('holder', sa.Uuid(), nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_leadership')),
    )
    op.add_column('batch', sa.Column('deadline_at', sa.DateTime(timezone=True), nullable=True))
    op.drop_index('ix_job_undispatched', table_name='job')
    _index('ix_job_unsent', ['batch_id', 'not_before', 'position'], "state = 'pending' AND chunk_id IS NULL")
    _index('ix_job_sent', ['queue', 'chunk_id'], "state = 'pending' AND chunk_id IS NOT NULL")
    op.drop_index('ix_job_chunk', table_name='job')
    _index('ix_job_chunk', ['chunk_id'], 'chunk_id IS NOT NULL')


def downgrade() -> None:
    op.drop_index('ix_job_chunk', table_name='job')
    op.create_index('ix_job_chunk', 'job', ['chunk_id'], unique=False)
    op.drop_index('ix_job_sent', table_name='job')
    op.drop_index('ix_job_unsent', table_name='job')
    _index('ix_job_undispatched', ['batch_id', 'position'], "state = 'pending' AND chunk_id IS NULL")
    op.drop_column('batch', 'deadline_at')
    op.drop_table('leadership')


def _index(name: str, columns: list[str], condition: str) -> None:
    op.create_index(
        name,
        'job',
        columns,
        unique=False,
        sqlite_where=sa.text(condition),
        postgresql_where=sa.text(condition),
    )
