"""What stands for what a model would say."""

EOS_TOKEN_ID = 2
