"""Array maths of the sampler: timesteps, guidance, noise, the denoising loop."""
