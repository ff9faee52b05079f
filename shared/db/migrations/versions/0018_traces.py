"""traces begin with who submits; how long phases took, added up

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('batch', sa.Column('traceparent', sa.String(length=55), nullable=True))
    op.add_column('batch_request', sa.Column('traceparent', sa.String(length=55), nullable=True))
    op.create_table('phase_time',
    sa.Column('share', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('device_kind', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('phase', sa.String(length=32), nullable=False),
    sa.Column('most_ns', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('images', sa.BigInteger(), nullable=False),
    sa.Column('nanoseconds', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('share', 'device_kind', 'model', 'phase', 'most_ns', name=op.f('pk_phase_time'))
    )


def downgrade() -> None:
    op.drop_table('phase_time')
    op.drop_column('batch_request', 'traceparent')
    op.drop_column('batch', 'traceparent')
