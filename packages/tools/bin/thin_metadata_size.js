#!/usr/bin/env node
import { main } from '../dist/main.js';

process.exitCode = await main(['thin_metadata_size', ...process.argv.slice(2)]);
