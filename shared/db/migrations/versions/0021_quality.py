"""what a job may be drawn without

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0021'
down_revision = '0020'
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Code that does not know it yet leaves it out, and draws exactly.
    op.add_column('job', sa.Column(
        'quality', sa.String(length=16), server_default='exact', nullable=False
    ))


def downgrade() -> None:
    with op.batch_alter_table('job') as jobs:
        jobs.drop_column('quality')
