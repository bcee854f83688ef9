// A story, written in the page as it is made on the visitor's device.
'use client';

import { load } from 'openelm/browser';
import { useEffect, useState } from 'react';

const files = ['config.json', 'model.safetensors', 'tokenizer.model'];

export default function Page() {
  const [story, setStory] = useState('');
  const [status, setStatus] = useState('');
  useEffect(() => {
    const left = new AbortController();
    const { signal } = left;
    const write = async () => {
      const model = await load('./tales-6m/', { files, signal });
      setStatus(model.backend.description);
      try {
        for await (const { text } of model.generate('Once upon a time', { temperature: 0, maxTokens: 60, signal })) {
          setStory((before) => before + text);
        }
      } finally {
        await model.dispose();
      }
      setStatus((before) => `${before}, done`);
    };
    write().catch((error) => signal.aborted || setStatus(error.message));
    return () => left.abort();
  }, []);
  return (
    <main>
      <p>
        Once upon a time<span id="story">{story}</span>
      </p>
      <p id="status" role="status">
        {status}
      </p>
    </main>
  );
}
