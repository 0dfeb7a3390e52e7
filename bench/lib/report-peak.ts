// Loaded before a program (node --import): at its end it says on stderr how large the process grew, in KiB.

process.on('exit', () => {
  process.stderr.write(`peak ${process.resourceUsage().maxRSS}\n`);
});
