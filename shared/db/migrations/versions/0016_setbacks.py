"""attempts that came to nothing, counted by worker and reason

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('setback',
    sa.Column('worker_id', sa.Uuid(), nullable=False),
    sa.Column('reason', sa.String(length=64), nullable=False),
    sa.Column('is_retried', sa.Boolean(), nullable=False),
    sa.Column('attempts', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('worker_id', 'reason', 'is_retried', name=op.f('pk_setback'))
    )


def downgrade() -> None:
    op.drop_table('setback')
