// The process that looks at one file of a corpus (see corpus.ts). In: one message with the path and options. Out:
// messages: what is being done, and at the end the row. Invariant: it ends when its parent does.

import { checkFile } from './corpus.js';
import type { CorpusOptions, CorpusRow } from './corpus.js';

export interface CorpusJob {
  readonly file: string;
  readonly options: CorpusOptions;
}

export type CorpusMessage = { readonly stage: string } | { readonly row: CorpusRow };

const send = (message: CorpusMessage, sent: () => void = () => undefined): void => {
  process.send?.(message, sent);
};

process.once('disconnect', () => process.exit());

process.once('message', (message) => {
  const { file, options } = message as CorpusJob;
  void checkFile(file, options, (stage) => {
    send({ stage });
  }).then((row) => {
    send({ row }, () => {
      process.disconnect();
    });
  });
});
