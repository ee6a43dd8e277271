/** All commands, in the order and under the titles in which the help shows them. */
import type { Command } from '../command-line/command.js';
import { checkCommand, createCommand, growCommand, statusCommand } from './pool-commands.js';
import { serveCommand } from './serve-command.js';
import { receiveCommand, sendCommand } from './stream-commands.js';
import { exportCommand, exportPoolCommand, importCommand, importPoolCommand } from './transfer-commands.js';
import {
  diffCommand,
  revertCommand,
  snapshotCommand,
  volumeCreateCommand,
  volumeListCommand,
  volumeRemoveCommand,
  volumeRenameCommand,
  volumeResizeCommand,
} from './volume-commands.js';

export const commandGroups: Readonly<Record<string, readonly Command[]>> = {
  Pools: [createCommand, statusCommand, growCommand, checkCommand],
  Volumes: [volumeCreateCommand, volumeListCommand, volumeRenameCommand, volumeResizeCommand, volumeRemoveCommand],
  Snapshots: [snapshotCommand, revertCommand, diffCommand],
  'Use by others': [serveCommand],
  'In and out': [importCommand, exportCommand, importPoolCommand, exportPoolCommand, sendCommand, receiveCommand],
};

export const commands: readonly Command[] = Object.values(commandGroups).flat();
