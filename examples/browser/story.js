// A story, written in the page as it is made on the visitor's device. `?model=` names another model: an address or a hub id.

import { load } from 'openelm/browser';

const [story, status] = ['story', 'status'].map((id) => document.getElementById(id));
try {
  const asked = new URLSearchParams(location.search).get('model');
  const files = asked ? undefined : ['config.json', 'model.safetensors', 'tokenizer.model'];
  const model = await load(asked ?? './tales-6m/', {
    files,
    onProgress: ({ phase, bytes, total }) => {
      status.textContent = `${phase} ${((100 * bytes) / total).toFixed(0)}%`;
    },
  });
  status.textContent = model.backend.description;
  for await (const { text } of model.generate('Once upon a time', { temperature: 0, maxTokens: 60 })) story.textContent += text;
  await model.dispose();
  status.textContent += ', done';
} catch (error) {
  status.textContent = error.message;
}
