"""Where events go: HTTP, MQTT, Kafka, a folder."""
