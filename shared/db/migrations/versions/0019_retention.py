"""when the details of a batch were removed

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('batch', sa.Column('details_dropped_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column('batch', 'details_dropped_at')
