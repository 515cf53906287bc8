"""The workbench without a page: data, models, adapters, training, chat. Nothing here imports gradio."""
