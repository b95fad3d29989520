"""The Celery app: queues, priorities, and the settings that make the ledger the one authority over redelivery."""

