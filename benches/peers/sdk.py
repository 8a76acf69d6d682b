# SPDX-License-Identifier: MPL-2.0
"""Streams of the service's own SDK, many in one process: sdk.py PORT STREAMS

One thread paces all of them, which is the least that a program could do; the SDK adds a thread
to each.
"""

import base64
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dashscope
from dashscope.audio.qwen_omni import (
    MultiModality,
    OmniRealtimeCallback,
    OmniRealtimeConversation,
)
from dashscope.audio.qwen_omni.omni_realtime import TranscriptionParams

FRAME = bytes(3200)
PERIOD = 0.1

dashscope.api_key = "none"


def conversation(port):
    talk = OmniRealtimeConversation(
        model="qwen3-asr-flash-realtime",
        callback=OmniRealtimeCallback(),
        url=f"ws://127.0.0.1:{port}/api-ws/v1/realtime",
    )
    talk.connect()
    talk.update_session(
        output_modalities=[MultiModality.TEXT],
        transcription_params=TranscriptionParams(sample_rate=16000, input_audio_format="pcm"),
    )
    return talk


def pace(conversations):
    step = PERIOD / len(conversations)
    due = time.monotonic()
    while True:
        for talk in conversations:
            time.sleep(max(0.0, due - time.monotonic()))
            talk.append_audio(base64.b64encode(FRAME).decode("ascii"))
            due += step


def main():
    port, streams = int(sys.argv[1]), int(sys.argv[2])
    for line in sys.stdin:
        if line.strip() == "start":
            with ThreadPoolExecutor(50) as pool:
                conversations = list(pool.map(conversation, [port] * streams))
            threading.Thread(target=pace, args=[conversations], daemon=True).start()
        print(json.dumps(None), flush=True)


main()
