"""schedulers by name, the safety checker's switch and time

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        'job', sa.Column('scheduler', sa.String(length=32), server_default='dpmsolver++', nullable=False)
    )
    op.add_column(
        'batch', sa.Column('safety_checker', sa.Boolean(), server_default=sa.true(), nullable=False)
    )
    op.add_column('attempt', sa.Column('safety_check_ns', sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column('attempt', 'safety_check_ns')
    op.drop_column('batch', 'safety_checker')
    op.drop_column('job', 'scheduler')
