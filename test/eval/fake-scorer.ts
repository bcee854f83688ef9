// A scorer without a model: answers that depend on the request's text alone, and a record of what it was asked.

import type { GenerateRequest, LoglikelihoodRequest, Scorer } from '../../src/eval/scorer.js';

function hash(text: string): number {
  let value = 2166136261;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 16777619) >>> 0;
  return value;
}

export function fakeScorer() {
  const asked: LoglikelihoodRequest[][] = [];
  const scorer: Scorer & { asked: LoglikelihoodRequest[][] } = {
    name: 'fake',
    asked,
    async loglikelihood(requests, options) {
      asked.push([...requests]);
      options?.onProgress?.(requests.length, requests.length);
      return requests.map(({ context, continuation }) => {
        const value = hash(`${context}\0${continuation}`);
        return { logprob: -(value % 1000) / 37, greedy: value % 2 === 0, truncated: value % 16 === 0 ? 3 : 0 };
      });
    },
    async loglikelihoodRolling(texts) {
      return texts.map((text) => -(hash(text) % 1000) / 7);
    },
    async generateUntil(requests: readonly GenerateRequest[]) {
      return requests.map(({ context }) => (context.includes('pond 1') ? 'Deep!' : 'shallow'));
    },
  };
  return scorer;
}
