"""when a worker last polled its queue

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('worker', sa.Column('polled_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column('worker', 'polled_at')
