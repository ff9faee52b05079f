"""keys, files, batches asked for over HTTP, webhooks

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('api_key',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('tenant', sa.String(length=128), nullable=False),
    sa.Column('name', sa.String(length=256), nullable=False),
    sa.Column('scopes', sa.String(length=64), nullable=False),
    sa.Column('secret_sha256', sa.String(length=64), nullable=False),
    sa.Column('ending', sa.String(length=8), nullable=False),
    sa.Column('requests_per_minute', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_key')),
    sa.UniqueConstraint('secret_sha256', name=op.f('uq_api_key_secret_sha256'))
    )
    op.create_table('batch_request',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('tenant', sa.String(length=128), nullable=False),
    sa.Column('key', sa.String(length=256), nullable=True),
    sa.Column('request_sha256', sa.String(length=64), nullable=True),
    sa.Column('input_file_id', sa.Uuid(), nullable=False),
    sa.Column('prompt_format', sa.String(length=16), nullable=True),
    sa.Column('options', sa.JSON(), nullable=False),
    sa.Column('endpoint', sa.String(length=64), nullable=True),
    sa.Column('completion_window', sa.String(length=16), nullable=True),
    sa.Column('client_metadata', sa.JSON(), nullable=True),
    sa.Column('base_url', sa.String(length=512), nullable=True),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('requests', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('completed', sa.BigInteger(), nullable=True),
    sa.Column('errors', sa.JSON(), nullable=True),
    sa.Column('output_file_id', sa.Uuid(), nullable=True),
    sa.Column('error_file_id', sa.Uuid(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('in_progress_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('cancelling_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finalizing_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('end_announced_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('worked_on_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('failures', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('last_failure', sa.Text(), nullable=True),
    sa.CheckConstraint("state IN ('validating', 'in_progress', 'finalizing', 'completed', 'failed', 'expired', 'cancelling', 'cancelled')", name=op.f('ck_batch_request_state')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_batch_request')),
    sa.UniqueConstraint('tenant', 'key', name=op.f('uq_batch_request_tenant'))
    )
    with op.batch_alter_table('batch_request', schema=None) as batch_op:
        batch_op.create_index('ix_batch_request_tenant', ['tenant', 'id'], unique=False)
        batch_op.create_index('ix_batch_request_unannounced', ['tenant', 'id'], unique=False, sqlite_where=sa.text("ended_at IS NOT NULL AND in_progress_at IS NULL AND end_announced_at IS NULL"), postgresql_where=sa.text("ended_at IS NOT NULL AND in_progress_at IS NULL AND end_announced_at IS NULL"))
        batch_op.create_index('ix_batch_request_unfinished', ['id'], unique=False, sqlite_where=sa.text('ended_at IS NULL'), postgresql_where=sa.text('ended_at IS NULL'))

    op.create_table('server_secret',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('value', sa.String(length=128), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_server_secret'))
    )
    op.create_table('stored_file',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('tenant', sa.String(length=128), nullable=False),
    sa.Column('name', sa.String(length=256), nullable=False),
    sa.Column('purpose', sa.String(length=32), nullable=False),
    sa.Column('bytes', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('object_key', sa.String(length=512), nullable=False),
    sa.Column('key', sa.String(length=256), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_stored_file')),
    sa.UniqueConstraint('tenant', 'key', name=op.f('uq_stored_file_tenant'))
    )
    with op.batch_alter_table('stored_file', schema=None) as batch_op:
        batch_op.create_index('ix_stored_file_tenant', ['tenant', 'id'], unique=False)

    op.create_table('webhook',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('tenant', sa.String(length=128), nullable=False),
    sa.Column('url', sa.String(length=2048), nullable=False),
    sa.Column('events', sa.String(length=256), nullable=False),
    sa.Column('secret', sa.String(length=128), nullable=False),
    sa.Column('first_batch', sa.Uuid(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('disabled_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook'))
    )
    with op.batch_alter_table('webhook', schema=None) as batch_op:
        batch_op.create_index('ix_webhook_tenant', ['tenant', 'id'], unique=False)

    op.create_table('webhook_delivery',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('webhook_id', sa.Uuid(), nullable=False),
    sa.Column('event_id', sa.Uuid(), nullable=False),
    sa.Column('event_type', sa.String(length=64), nullable=False),
    sa.Column('batch_id', sa.Uuid(), nullable=True),
    sa.Column('payload', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('attempts', sa.BigInteger(), nullable=False),
    sa.Column('next_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('status', sa.BigInteger(), nullable=True),
    sa.Column('error', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(['webhook_id'], ['webhook.id'], name=op.f('fk_webhook_delivery_webhook_id_webhook'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook_delivery')),
    sa.UniqueConstraint('webhook_id', 'event_id', name=op.f('uq_webhook_delivery_webhook_id'))
    )
    with op.batch_alter_table('webhook_delivery', schema=None) as batch_op:
        batch_op.create_index('ix_webhook_delivery_due', ['next_at'], unique=False, sqlite_where=sa.text('next_at IS NOT NULL'), postgresql_where=sa.text('next_at IS NOT NULL'))

    op.add_column('batch', sa.Column('end_announced_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('batch', sa.Column('budget_announced_at', sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table('batch', schema=None) as batch_op:
        batch_op.create_index('ix_batch_unannounced', ['tenant', 'id'], unique=False, sqlite_where=sa.text('end_announced_at IS NULL AND submitted_at IS NOT NULL'), postgresql_where=sa.text('end_announced_at IS NULL AND submitted_at IS NOT NULL'))



def downgrade() -> None:
    with op.batch_alter_table('batch', schema=None) as batch_op:
        batch_op.drop_index('ix_batch_unannounced', sqlite_where=sa.text('end_announced_at IS NULL AND submitted_at IS NOT NULL'), postgresql_where=sa.text('end_announced_at IS NULL AND submitted_at IS NOT NULL'))

    op.drop_column('batch', 'budget_announced_at')
    op.drop_column('batch', 'end_announced_at')

    op.drop_table('webhook_delivery')
    op.drop_table('webhook')
    op.drop_table('stored_file')
    op.drop_table('server_secret')
    with op.batch_alter_table('batch_request', schema=None) as batch_op:
        batch_op.drop_index('ix_batch_request_unannounced', sqlite_where=sa.text("ended_at IS NOT NULL AND in_progress_at IS NULL AND end_announced_at IS NULL"), postgresql_where=sa.text("ended_at IS NOT NULL AND in_progress_at IS NULL AND end_announced_at IS NULL"))
        batch_op.drop_index('ix_batch_request_unfinished', sqlite_where=sa.text('ended_at IS NULL'), postgresql_where=sa.text('ended_at IS NULL'))
        batch_op.drop_index('ix_batch_request_tenant')

    op.drop_table('batch_request')
    op.drop_table('api_key')
