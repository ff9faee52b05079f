"""what is to be drawn, in device time, for whoever sizes a fleet

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('backlog',
    sa.Column('device_kind', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('jobs', sa.BigInteger(), nullable=False),
    sa.Column('device_ns', sa.BigInteger(), nullable=False),
    sa.Column('unrated_jobs', sa.BigInteger(), nullable=False),
    sa.Column('written_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('device_kind', 'model', name=op.f('pk_backlog'))
    )


def downgrade() -> None:
    op.drop_table('backlog')
