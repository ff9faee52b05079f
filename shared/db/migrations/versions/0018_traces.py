"""traces begin with who submits

Revision ID: 0018
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('batch', sa.Column('traceparent', sa.String(length=55), nullable=True))
    op.add_column('batch_request', sa.Column('traceparent', sa.String(length=55), nullable=True))


def downgrade() -> None:
    op.drop_column('batch_request', 'traceparent')
    op.drop_column('batch', 'traceparent')
