"""which chunk is in a worker's device

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('worker', sa.Column('drawing_chunk_id', sa.Uuid(), nullable=True))
    op.add_column('worker', sa.Column('drawing_since', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column('worker', 'drawing_since')
    op.drop_column('worker', 'drawing_chunk_id')
