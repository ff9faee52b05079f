"""first tables

Revision ID: 0001
Revises: 
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from shared.domain.identifiers import new_id

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None

EXAMPLE_PRICES = (
    ("cpu", 76_500_000, "example: AWS EC2 c6a.large, 2 vCPU, on demand, us-east-1"),
    ("cuda", 1_006_000_000, "example: AWS EC2 g5.xlarge, one A10G, on demand, us-east-1"),
)


def upgrade() -> None:
    op.create_table('batch',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('name', sa.String(length=256), nullable=False),
    sa.Column('tenant', sa.String(length=128), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('priority', sa.BigInteger(), nullable=False),
    sa.Column('control', sa.String(length=16), nullable=False),
    sa.Column('total', sa.BigInteger(), nullable=False),
    sa.Column('client', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("control IN ('active', 'paused', 'cancelled')", name=op.f('ck_batch_control')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_batch'))
    )
    op.create_table('ledger',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('event_id', sa.String(length=128), nullable=False),
    sa.Column('kind', sa.String(length=32), nullable=False),
    sa.Column('batch_id', sa.Uuid(), nullable=True),
    sa.Column('job_id', sa.Uuid(), nullable=True),
    sa.Column('attempt_id', sa.Uuid(), nullable=True),
    sa.Column('worker_id', sa.Uuid(), nullable=True),
    sa.Column('device_kind', sa.String(length=64), nullable=False),
    sa.Column('device_ns', sa.BigInteger(), nullable=False),
    sa.Column('nanodollars_per_hour', sa.BigInteger(), nullable=False),
    sa.Column('amount_nanodollars', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ledger')),
    sa.UniqueConstraint('event_id', name=op.f('uq_ledger_event_id'))
    )
    with op.batch_alter_table('ledger', schema=None) as batch_op:
        batch_op.create_index('ix_ledger_batch', ['batch_id'], unique=False)

    op.create_table('price',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('device_kind', sa.String(length=64), nullable=False),
    sa.Column('nanodollars_per_hour', sa.BigInteger(), nullable=False),
    sa.Column('effective_from', sa.DateTime(timezone=True), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('is_example', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_price')),
    sa.UniqueConstraint('device_kind', 'effective_from', name=op.f('uq_price_device_kind'))
    )
    op.create_table('worker',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('host', sa.String(length=256), nullable=False),
    sa.Column('pid', sa.BigInteger(), nullable=False),
    sa.Column('device', sa.String(length=64), nullable=False),
    sa.Column('device_kind', sa.String(length=64), nullable=False),
    sa.Column('device_name', sa.String(length=256), nullable=False),
    sa.Column('backend', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('queue', sa.String(length=256), nullable=False),
    sa.Column('version', sa.String(length=64), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('heartbeat_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_claim_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('draining', sa.Boolean(), nullable=False),
    sa.Column('load_ns', sa.BigInteger(), nullable=False),
    sa.Column('stopped_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_worker'))
    )
    with op.batch_alter_table('worker', schema=None) as batch_op:
        batch_op.create_index('ix_worker_heartbeat', ['heartbeat_at'], unique=False)

    op.create_table('job',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('batch_id', sa.Uuid(), nullable=False),
    sa.Column('position', sa.BigInteger(), nullable=False),
    sa.Column('custom_id', sa.String(length=256), nullable=True),
    sa.Column('source_line', sa.BigInteger(), nullable=True),
    sa.Column('prompt', sa.Text(), nullable=False),
    sa.Column('negative_prompt', sa.Text(), nullable=False),
    sa.Column('seed', sa.BigInteger(), nullable=False),
    sa.Column('width', sa.BigInteger(), nullable=False),
    sa.Column('height', sa.BigInteger(), nullable=False),
    sa.Column('steps', sa.BigInteger(), nullable=False),
    sa.Column('squeeze', sa.String(length=16), nullable=True),
    sa.Column('guidance_scale', sa.Double(), nullable=False),
    sa.Column('guidance_rescale', sa.Double(), nullable=False),
    sa.Column('details', sa.JSON(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('attempts', sa.BigInteger(), nullable=False),
    sa.Column('fencing_token', sa.BigInteger(), nullable=False),
    sa.Column('chunk_id', sa.Uuid(), nullable=True),
    sa.Column('queue', sa.String(length=256), nullable=True),
    sa.Column('dispatched_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('not_before', sa.DateTime(timezone=True), nullable=True),
    sa.Column('worker_id', sa.Uuid(), nullable=True),
    sa.Column('lease_expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('image_key', sa.String(length=512), nullable=True),
    sa.Column('image_sha256', sa.String(length=64), nullable=True),
    sa.Column('image_bytes', sa.BigInteger(), nullable=True),
    sa.Column('error_code', sa.String(length=64), nullable=True),
    sa.Column('error_message', sa.Text(), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("state IN ('pending', 'leased', 'done', 'failed', 'cancelled', 'held')", name=op.f('ck_job_state')),
    sa.ForeignKeyConstraint(['batch_id'], ['batch.id'], name=op.f('fk_job_batch_id_batch'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_job')),
    sa.UniqueConstraint('batch_id', 'position', name=op.f('uq_job_batch_id'))
    )
    with op.batch_alter_table('job', schema=None) as batch_op:
        batch_op.create_index('ix_job_batch_state', ['batch_id', 'state'], unique=False)
        batch_op.create_index('ix_job_finished', ['batch_id', 'finished_at'], unique=False)
        batch_op.create_index('ix_job_chunk', ['chunk_id'], unique=False)
        batch_op.create_index('ix_job_lease', ['lease_expires_at'], unique=False, sqlite_where=sa.text("state = 'leased'"), postgresql_where=sa.text("state = 'leased'"))
        batch_op.create_index('ix_job_undispatched', ['batch_id', 'position'], unique=False, sqlite_where=sa.text("state = 'pending' AND chunk_id IS NULL"), postgresql_where=sa.text("state = 'pending' AND chunk_id IS NULL"))

    op.create_table('attempt',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('job_id', sa.Uuid(), nullable=False),
    sa.Column('batch_id', sa.Uuid(), nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('fencing_token', sa.BigInteger(), nullable=False),
    sa.Column('chunk_id', sa.Uuid(), nullable=True),
    sa.Column('worker_id', sa.Uuid(), nullable=False),
    sa.Column('device_kind', sa.String(length=64), nullable=False),
    sa.Column('device_name', sa.String(length=256), nullable=False),
    sa.Column('outcome', sa.String(length=16), nullable=False),
    sa.Column('claimed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('queue_wait_ns', sa.BigInteger(), nullable=True),
    sa.Column('text_encode_ns', sa.BigInteger(), nullable=True),
    sa.Column('denoise_ns', sa.BigInteger(), nullable=True),
    sa.Column('decode_ns', sa.BigInteger(), nullable=True),
    sa.Column('png_encode_ns', sa.BigInteger(), nullable=True),
    sa.Column('upload_ns', sa.BigInteger(), nullable=True),
    sa.Column('device_ns', sa.BigInteger(), nullable=True),
    sa.Column('nanodollars_per_hour', sa.BigInteger(), nullable=True),
    sa.Column('cost_nanodollars', sa.BigInteger(), nullable=True),
    sa.Column('record', sa.JSON(), nullable=True),
    sa.Column('error_code', sa.String(length=64), nullable=True),
    sa.Column('error_message', sa.Text(), nullable=True),
    sa.CheckConstraint("outcome IN ('running', 'done', 'failed', 'lost', 'returned', 'cancelled')", name=op.f('ck_attempt_outcome')),
    sa.ForeignKeyConstraint(['job_id'], ['job.id'], name=op.f('fk_attempt_job_id_job'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_attempt')),
    sa.UniqueConstraint('job_id', 'fencing_token', name=op.f('uq_attempt_job_id'))
    )
    with op.batch_alter_table('attempt', schema=None) as batch_op:
        batch_op.create_index('ix_attempt_batch', ['batch_id', 'claimed_at'], unique=False)

    _insert_example_prices()


def _insert_example_prices() -> None:
    """A worker needs a price for its device: these are examples, to be replaced."""
    columns = [
        sa.column("id", sa.Uuid()),
        sa.column("device_kind", sa.String()),
        sa.column("nanodollars_per_hour", sa.BigInteger()),
        sa.column("effective_from", sa.DateTime(timezone=True)),
        sa.column("source", sa.Text()),
        sa.column("is_example", sa.Boolean()),
    ]
    op.bulk_insert(
        sa.table("price", *columns),
        [
            {
                "id": new_id(),
                "device_kind": kind,
                "nanodollars_per_hour": nanodollars_per_hour,
                "effective_from": datetime(2024, 1, 1, tzinfo=UTC),
                "source": source,
                "is_example": True,
            }
            for kind, nanodollars_per_hour, source in EXAMPLE_PRICES
        ],
    )


def downgrade() -> None:
    with op.batch_alter_table('attempt', schema=None) as batch_op:
        batch_op.drop_index('ix_attempt_batch')

    op.drop_table('attempt')
    with op.batch_alter_table('job', schema=None) as batch_op:
        batch_op.drop_index('ix_job_undispatched', sqlite_where=sa.text("state = 'pending' AND chunk_id IS NULL"), postgresql_where=sa.text("state = 'pending' AND chunk_id IS NULL"))
        batch_op.drop_index('ix_job_lease', sqlite_where=sa.text("state = 'leased'"), postgresql_where=sa.text("state = 'leased'"))
        batch_op.drop_index('ix_job_chunk')
        batch_op.drop_index('ix_job_finished')
        batch_op.drop_index('ix_job_batch_state')

    op.drop_table('job')
    with op.batch_alter_table('worker', schema=None) as batch_op:
        batch_op.drop_index('ix_worker_heartbeat')

    op.drop_table('worker')
    op.drop_table('price')
    with op.batch_alter_table('ledger', schema=None) as batch_op:
        batch_op.drop_index('ix_ledger_batch')

    op.drop_table('ledger')
    op.drop_table('batch')
