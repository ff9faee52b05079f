"""what was done when

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('batch_activity',
    sa.Column('batch_id', sa.Uuid(), nullable=False),
    sa.Column('second', sa.BigInteger(), nullable=False),
    sa.Column('done', sa.BigInteger(), nullable=False),
    sa.Column('failed', sa.BigInteger(), nullable=False),
    sa.Column('nanodollars', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['batch_id'], ['batch.id'], name=op.f('fk_batch_activity_batch_id_batch'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('batch_id', 'second', name=op.f('pk_batch_activity')),
    sqlite_with_rowid=False
    )
    op.create_table('worker_activity',
    sa.Column('worker_id', sa.Uuid(), nullable=False),
    sa.Column('second', sa.BigInteger(), nullable=False),
    sa.Column('images', sa.BigInteger(), nullable=False),
    sa.Column('busy_ns', sa.BigInteger(), nullable=False),
    sa.Column('nanodollars', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('worker_id', 'second', name=op.f('pk_worker_activity')),
    sqlite_with_rowid=False
    )
    op.create_index('ix_worker_activity_second', 'worker_activity', ['second'])


def downgrade() -> None:
    op.drop_index('ix_worker_activity_second', table_name='worker_activity')
    op.drop_table('worker_activity')
    op.drop_table('batch_activity')
